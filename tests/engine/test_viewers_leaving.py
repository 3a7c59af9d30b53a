"""A stop, or the last viewer leaving, closes everything at once at any stage."""

from typing import Any

import anyio
import pytest

from streamsvc.events import Done, Outcome, Text, Usage
from streamsvc.provider_errors import ProviderRefused
from support.answers import REQUEST, STOP, TOTAL, counted, rate_limited, supervising
from support.doubles import HOLD, ScriptedProvider, Takes, events_of, virtual_backends

anyio_backend = virtual_backends()


def in_backoff() -> list[ScriptedProvider]:
    return [ScriptedProvider(rate_limited(50.0))]


def in_a_fallbacks_connect() -> list[ScriptedProvider]:
    return [ScriptedProvider(ProviderRefused()), ScriptedProvider(STOP, entering=HOLD)]


def in_a_fallbacks_silence() -> list[ScriptedProvider]:
    return [ScriptedProvider(ProviderRefused()), ScriptedProvider(HOLD)]


def in_a_rescue_that_connects() -> list[ScriptedProvider]:
    return [Takes([Text("a"), Text("b")], [HOLD])]


def in_a_rescue_that_catches_up() -> list[ScriptedProvider]:
    return [Takes([Text("a"), Text("b")], [Text("a"), HOLD])]


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("is_stop", [False, True], ids=["the viewer leaves", "it is stopped"])
@pytest.mark.parametrize(
    ("providers", "calls", "usage"),
    [
        (in_backoff, (1,), None),
        (in_a_fallbacks_connect, (1, 1), counted(0)),
        (in_a_fallbacks_silence, (1, 1), counted(0)),
        (in_a_rescue_that_connects, (2,), counted(2)),
        (in_a_rescue_that_catches_up, (2,), counted(2)),
    ],
)
async def test_leaving_or_stopping_closes_everything_at_any_stage(
    providers: Any, calls: tuple[int, ...], usage: Usage | None, *, is_stop: bool
) -> None:
    """`supervising` checks that every call is closed, every slot is free, and no task remains."""
    async with supervising(*providers()) as bench:
        before = len(anyio.get_running_tasks())
        generation = await bench.create(REQUEST)
        with bench.viewer(generation):
            await anyio.sleep(20)
            assert bench.calls == calls
            assert sum(bench.slots) == 1
            if is_stop:
                await bench.stop(generation)
        left_at = anyio.current_time()
        *_, done = await events_of(bench.log, generation)
        assert isinstance(done, Done)
        assert done.outcome is (Outcome.CLIENT_STOP if is_stop else Outcome.NO_VIEWERS)
        assert done.provider == ("first", "second")[len(calls) - 1]
        assert done.usage == usage
        assert anyio.current_time() == pytest.approx(left_at, abs=0.001)
        await anyio.wait_all_tasks_blocked()
        assert len(anyio.get_running_tasks()) == before
        await anyio.sleep(TOTAL)
        assert bench.calls == calls
