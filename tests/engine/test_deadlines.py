"""A call to a provider ends at its deadlines, and not earlier."""

import anyio
import pytest

from streamsvc.events import Done, Outcome, Reasoning, Text, Usage
from streamsvc.provider_errors import ProviderTimedOut
from support.doubles import HOLD, ScriptedProvider, Step, virtual_backends
from support.generations import FIRST_TOKEN, IDLE, STOP, TOTAL, Bench, counted, failure, generate

anyio_backend = virtual_backends()


@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize(
    ("script", "deadline", "after", "usage"),
    [
        ((HOLD,), "first_token", FIRST_TOKEN, counted()),
        ((FIRST_TOKEN - 1, Text("a"), HOLD), "idle", FIRST_TOKEN - 1 + IDLE, counted(1)),
        (
            (FIRST_TOKEN - 1, Reasoning("a"), HOLD),
            "idle",
            FIRST_TOKEN - 1 + IDLE,
            counted(thought=1),
        ),
        (
            (Text("a"), IDLE - 1, Text("b"), IDLE + 2, Text("c"), STOP),
            "idle",
            2 * IDLE - 1,
            counted(2),
        ),
        ((*[IDLE - 1, Text("a")] * 30, STOP), "total", TOTAL, counted(20)),
        ((*[IDLE - 1, Reasoning("a")] * 30, STOP), "total", TOTAL, counted(thought=20)),
        ((Text("a"), IDLE - 1, HOLD), "idle", IDLE, counted(1)),
    ],
)
async def test_a_silent_provider_fails_at_its_deadline(
    script: tuple[Step, ...], deadline: str, after: float, usage: Usage
) -> None:
    """The first deadline to pass ends it to the second, and the call is closed."""
    began = anyio.current_time()
    *_, done = await generate(*script)
    expected = ProviderTimedOut(deadline)
    assert done == failure(
        "provider_timeout", Outcome(f"{deadline}_timeout"), expected.message, usage=usage
    )
    assert anyio.current_time() - began == pytest.approx(after)


@pytest.mark.promise("upstream:bounded")
async def test_a_provider_that_never_connects_misses_the_first_token() -> None:
    began = anyio.current_time()
    *_, done = await generate(STOP, entering=HOLD)
    assert isinstance(done, Done)
    assert done.outcome is Outcome.FIRST_TOKEN_TIMEOUT
    assert anyio.current_time() - began == FIRST_TOKEN


@pytest.mark.promise("upstream:bounded")
async def test_the_total_deadline_holds_before_the_first_token_too() -> None:
    bench = Bench(ScriptedProvider(HOLD), total_seconds=FIRST_TOKEN / 2)
    *_, done = await bench.watched()
    assert isinstance(done, Done)
    assert done.outcome is Outcome.TOTAL_TIMEOUT
    assert anyio.current_time() == pytest.approx(FIRST_TOKEN / 2, abs=0.001)


async def test_a_slow_provider_within_its_deadlines_may_finish() -> None:
    script: list[Step] = [FIRST_TOKEN - 1, Text("a"), IDLE - 1, Reasoning("b"), IDLE - 1, STOP]
    *_, done = await generate(*script)
    assert isinstance(done, Done)
    assert done.outcome is Outcome.COMPLETED
