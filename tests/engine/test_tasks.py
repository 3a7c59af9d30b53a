"""The tasks of generations: kept, waited for, and their exceptions logged."""

import gc

import anyio
import pytest

from streamsvc.engine.tasks import GenerationTasks
from support.doubles import virtual_backends

anyio_backend = virtual_backends()


async def test_tasks_are_waited_for_and_say_that_they_end() -> None:
    tasks = GenerationTasks()
    ended: list[str] = []

    async def run() -> None:
        await anyio.sleep(1)

    for name in ("gen_a", "gen_b"):
        tasks.start(name, run, lambda name=name: ended.append(name))  # type: ignore[misc]
    await anyio.wait_all_tasks_blocked()
    assert ended == []
    await tasks.wait_ended()
    assert sorted(ended) == ["gen_a", "gen_b"]
    await tasks.wait_ended()  # returns at once


async def test_tasks_started_while_others_are_waited_for_count() -> None:
    tasks = GenerationTasks()
    ended: list[str] = []

    async def first() -> None:
        await anyio.sleep(1)
        tasks.start("gen_b", second, lambda: ended.append("gen_b"))

    async def second() -> None:
        await anyio.sleep(1)

    tasks.start("gen_a", first, lambda: ended.append("gen_a"))
    await tasks.wait_ended()
    assert ended == ["gen_a", "gen_b"]
    tasks.start("gen_c", second, lambda: ended.append("gen_c"))
    await tasks.wait_ended()
    assert ended == ["gen_a", "gen_b", "gen_c"]


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("where", ["run", "on_end"])
async def test_a_crash_is_logged_and_affects_no_other(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = GenerationTasks()
    ended: list[str] = []

    async def run() -> None:
        await anyio.sleep(1)
        if where == "run":
            raise RuntimeError("the-secret")

    def on_end() -> None:
        ended.append("gen_a")
        if where == "on_end":
            raise RuntimeError("the-secret")

    async def longer() -> None:
        await anyio.sleep(2)

    tasks.start("gen_a", run, on_end)
    tasks.start("gen_b", longer, lambda: ended.append("gen_b"))
    await tasks.wait_ended()
    assert ended == ["gen_a", "gen_b"]
    (line,) = (it.getMessage() for it in caplog.records if "generation.crashed" in it.getMessage())
    assert "id=gen_a" in line
    assert "exception=RuntimeError" in line
    assert "the-secret" not in caplog.text


async def test_a_task_that_nobody_refers_to_is_kept() -> None:
    tasks = GenerationTasks()
    ended: list[str] = []

    async def run() -> None:
        await anyio.sleep(1)

    tasks.start("gen_a", run, lambda: ended.append("gen_a"))
    await anyio.wait_all_tasks_blocked()
    gc.collect()
    await anyio.sleep(2)
    assert ended == ["gen_a"]
