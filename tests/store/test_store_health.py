"""Whether the store can be used: each change is one log line, and one reason for `/readyz`."""

import re

import anyio
import pytest

from streamsvc.hooks import StoreReason
from streamsvc.store.health import SLOW_SECONDS, Health, Trouble
from support.logged import logged


def codes(health: Health) -> list[str]:
    return [it.code for it in health.reasons]


async def test_each_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    health = Health(logged())
    assert (health.reasons, health.is_down) == ((), False)
    for trouble in (Trouble.SILENT, Trouble.SILENT, Trouble.UNREACHABLE):
        health.failed(trouble, "TimeoutError")
    assert codes(health) == ["store_unreachable"]
    for _ in range(2):
        health.worked(0.001, wrote=False)
    assert [re.split(r" seconds| \(", message)[0] for message in caplog.messages] == [
        "store.lost reason=silent cause=TimeoutError",
        "store.lost reason=unreachable cause=TimeoutError",
        "store.back after=unreachable",
    ]


@pytest.mark.parametrize("trouble", [Trouble.FULL, Trouble.READ_ONLY])
async def test_reading_does_not_prove_that_writing_works(trouble: Trouble) -> None:
    health = Health(logged())
    health.failed(trouble, "none")
    health.worked(0, wrote=False)
    assert (health.trouble, health.is_down) == (trouble, False)
    health.worked(0, wrote=True)
    assert health.trouble is None


async def test_who_waits_for_the_store_learns_of_its_return() -> None:
    health = Health(logged())
    health.failed(Trouble.SILENT, "none")
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(10):
            tasks.start_soon(health.wait_usable)
            await anyio.wait_all_tasks_blocked()
            health.failed(Trouble.UNREACHABLE, "none")
            await anyio.wait_all_tasks_blocked()
            health.worked(0, wrote=True)


async def test_a_slow_store_is_a_reason_and_no_trouble() -> None:
    health = Health(logged())
    health.worked(2 * SLOW_SECONDS, wrote=True)
    assert (health.is_slow, health.trouble) == (True, None)
    assert health.reasons == (StoreReason(code="store_slow", ms=500),)
    health.failed(Trouble.SILENT, "none")
    assert codes(health) == ["store_silent"]
