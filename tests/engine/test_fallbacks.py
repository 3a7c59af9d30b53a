"""When the next entry of a route is called, and what viewers see of it."""

import anyio
import msgspec
import pytest

from streamsvc.errors import Overloaded
from streamsvc.events import Done, Event, Restart, Start, Status, Text
from streamsvc.provider_errors import ProviderRefused, ProviderUnavailable, UpstreamCut
from support.answers import (
    FIRST_TOKEN,
    REQUEST,
    WELL,
    completed,
    rate_limited,
    supervising,
    switching,
)
from support.doubles import HOLD, PROMPT, ScriptedProvider, Step, Takes, events_of, virtual_backends

anyio_backend = virtual_backends()


async def test_a_named_model_is_asked_of_the_requested_entry_only() -> None:
    first, second = Takes((Text("a"), UpstreamCut()), (ProviderRefused(),)), ScriptedProvider(*WELL)
    async with supervising(first, second) as bench:
        prompt = msgspec.structs.replace(PROMPT, model="larger")
        generation = await bench.create(msgspec.structs.replace(REQUEST, prompt=prompt))
        with bench.viewer(generation):
            events = await events_of(bench.log, generation)
        assert [prompt.model for prompt in first.prompts] == ["larger", "larger"]
        assert [prompt.model for prompt in second.prompts] == [""]
        models = [event.model for event in events if isinstance(event, Start | Restart | Done)]
        assert models == ["larger", "model-of-second", "model-of-second"]


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize(("seconds", "calls"), [(8.0, (2, 0)), (8.1, (1, 1))])
async def test_with_a_fallback_a_long_retry_after_is_not_waited_for(
    seconds: float, calls: tuple[int, ...]
) -> None:
    first, second = Takes([rate_limited(seconds)], WELL), ScriptedProvider(*WELL)
    async with supervising(first, second, max_backoff_seconds=8.0) as bench:
        assert (await bench.done()).status is Status.COMPLETED
        assert bench.calls == calls


@pytest.mark.promise("upstream:bounded")
@pytest.mark.promise("upstream:rescue")
async def test_a_silent_provider_is_not_retried_but_falls_back() -> None:
    async with supervising(ScriptedProvider(HOLD), ScriptedProvider(*WELL)) as bench:
        assert await bench.answer() == [
            switching("provider_timeout"),
            Text("well"),
            completed("second"),
        ]
        assert bench.calls == (1, 1)
        assert anyio.current_time() == pytest.approx(FIRST_TOKEN)


@pytest.mark.promise("upstream:bounded")
async def test_each_entry_has_its_own_first_token_deadline() -> None:
    entries = {"second": {"first_token_seconds": 30.0}}
    async with supervising(
        ScriptedProvider(HOLD), ScriptedProvider(HOLD), entries=entries
    ) as bench:
        await bench.answer()
        assert anyio.current_time() == pytest.approx(FIRST_TOKEN + 30)


@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize(
    "takes",
    [
        [[200.0, Text("a"), 40.0, UpstreamCut()]],
        [[Text("a"), *[40.0, Text("a")] * 20, UpstreamCut()]],
        [[190.0, ProviderUnavailable()], [HOLD]],
        [[Text("a"), 140.0, UpstreamCut()], [Text("b"), HOLD]],
    ],
)
async def test_the_total_deadline_covers_all_tries_and_fallbacks(
    takes: list[list[Step]],
) -> None:
    first, second = Takes(*takes), ScriptedProvider(HOLD)
    async with supervising(
        first,
        second,
        entries={"first": {"total_seconds": 300.0}},
        first_token_seconds=400.0,
        idle_seconds=299.0,
    ) as bench:
        done = await bench.done()
        assert done.status is Status.FAILED
        assert anyio.current_time() == pytest.approx(300.0)
        assert second.opened == 0


@pytest.mark.promise("upstream:rescue")
async def test_a_fallbacks_total_deadline_is_not_that_of_the_answer() -> None:
    entries = {"second": {"total_seconds": 10.0}}
    providers = (
        ScriptedProvider(ProviderRefused()),
        ScriptedProvider(HOLD),
        ScriptedProvider(*WELL),
    )
    async with supervising(*providers, entries=entries) as bench:
        assert await bench.done() == completed("third")
        assert anyio.current_time() == pytest.approx(10.0)


@pytest.mark.promise("upstream:rescue")
async def test_full_entries_are_skipped_and_a_status_says_so() -> None:
    first, second, third = (ScriptedProvider(10.0, *WELL) for _ in range(3))
    async with supervising(first, second, third, max_generations=1) as bench:
        answers: list[list[Event]] = []

        async def ask() -> None:
            answers.append(await bench.answer())

        async with anyio.create_task_group() as tasks:
            for slots in ([1, 0, 0], [1, 1, 0], [1, 1, 1]):
                tasks.start_soon(ask)
                await anyio.sleep(1)
                assert bench.slots == slots
            with pytest.raises(Overloaded, match=r"providers\.first\.max_generations"):
                await bench.create(REQUEST)
        assert answers == [
            [Text("well"), completed("first")],
            [switching("busy"), Text("well"), completed("second")],
            [switching("busy", "third"), Text("well"), completed("third")],
        ]


async def test_a_generation_that_falls_back_frees_its_slot() -> None:
    first = Takes([ProviderRefused()], WELL)
    async with supervising(first, ScriptedProvider(HOLD), max_generations=1) as bench:
        waiting = await bench.create(REQUEST)
        await anyio.wait_all_tasks_blocked()
        assert bench.slots == [0, 1]
        assert await bench.done() == completed("first")
        await bench.stop(waiting)


async def test_a_full_fallback_is_skipped() -> None:
    second, third = ScriptedProvider(HOLD), ScriptedProvider(*WELL)
    first = ScriptedProvider(ProviderRefused())
    async with supervising(
        first, second, third, entries={"second": {"max_generations": 1}}
    ) as bench:
        waiting = await bench.create(REQUEST)
        await anyio.wait_all_tasks_blocked()
        assert await bench.answer() == [
            switching("provider_refused", "third"),
            Text("well"),
            completed("third"),
        ]
        await bench.stop(waiting)
