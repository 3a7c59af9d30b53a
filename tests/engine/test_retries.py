"""When the same entry is called again, how often, and after which wait."""

import anyio
import msgspec
import pytest

from streamsvc.events import Text
from streamsvc.provider_errors import ProviderRateLimited, ProviderUnavailable
from support.answers import (
    FIRST_TOKEN,
    TOTAL,
    WELL,
    completed,
    counted,
    failed,
    gaps,
    rate_limited,
    retrying,
    supervising,
    switching,
)
from support.doubles import HOLD, PROMPT, ScriptedProvider, Takes, virtual_backends

anyio_backend = virtual_backends()


@pytest.mark.promise("upstream:rescue")
async def test_a_passing_failure_shows_only_as_a_status() -> None:
    async with supervising(Takes([ProviderUnavailable()], WELL)) as bench:
        assert await bench.answer() == [retrying(), Text("well"), completed("first")]


async def test_without_failures_there_is_no_status() -> None:
    async with supervising(ScriptedProvider(*WELL), ScriptedProvider(*WELL)) as bench:
        assert await bench.answer() == [Text("well"), completed("first")]
        assert bench.calls == (1, 0)


@pytest.mark.promise("upstream:rescue")
async def test_the_backoff_doubles_up_to_its_bound_with_jitter() -> None:
    """It is at least half of the bound, so that clients that fail together do not return together."""
    provider = ScriptedProvider(ProviderUnavailable())
    settings = {"attempts": 8, "backoff_seconds": 1.0, "max_backoff_seconds": 8.0}
    generations = {"max_calls": 8}
    async with supervising(
        provider, generations=generations, circuit_failures=0, **settings
    ) as bench:
        assert await bench.done() == failed("first", ProviderUnavailable())
    waits = gaps(provider)
    for wait, longest in zip(waits, [1, 2, 4, 8, 8, 8, 8], strict=True):
        assert longest / 2 - 0.001 <= wait <= longest + 0.001
    assert len({round(wait, 6) for wait in waits[-4:]}) > 1


@pytest.mark.promise("upstream:rescue")
async def test_attempts_per_entry_and_calls_per_answer_are_bounded() -> None:
    def down() -> ScriptedProvider:
        return ScriptedProvider(ProviderUnavailable())

    entries = {"first": {"attempts": 2}, "second": {"attempts": 1}, "third": {"attempts": 10}}
    async with supervising(down(), down(), down(), entries=entries, circuit_failures=0) as bench:
        events = await bench.answer()
        assert bench.calls == (2, 1, 3)
        assert events == [
            retrying(),
            switching(),
            switching(provider="third"),
            *[retrying(provider="third")] * 2,
            failed("first", ProviderUnavailable()),
        ]


@pytest.mark.promise("upstream:bounded")
async def test_with_one_allowed_call_there_is_no_retry() -> None:
    first, second = ScriptedProvider(ProviderUnavailable()), ScriptedProvider(*WELL)
    async with supervising(first, second, generations={"max_calls": 1}) as bench:
        assert await bench.answer() == [failed("first", ProviderUnavailable())]


@pytest.mark.promise("upstream:rescue")
async def test_a_retry_after_is_waited_for() -> None:
    provider = Takes([rate_limited(60.0)], WELL)
    async with supervising(provider) as bench:
        assert await bench.answer() == [
            retrying("provider_rate_limited"),
            Text("well"),
            completed("first"),
        ]
        assert gaps(provider) == [pytest.approx(60.0)]


@pytest.mark.promise("upstream:rescue")
async def test_a_retry_after_of_zero_still_waits_for_the_backoff() -> None:
    provider = Takes([rate_limited(0.0)], WELL)
    async with supervising(provider, backoff_seconds=1.0) as bench:
        await bench.answer()
    assert 0.5 <= gaps(provider)[0] <= 1.001


@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize("total_seconds", [TOTAL, FIRST_TOKEN / 2])
async def test_a_retry_after_beyond_a_deadline_is_not_waited_for(
    total_seconds: float,
) -> None:
    """Viewers learn of the failure at once, and not at the deadline."""
    provider = ScriptedProvider(rate_limited(min(total_seconds, FIRST_TOKEN) + 1))
    async with supervising(provider, total_seconds=total_seconds) as bench:
        assert await bench.answer() == [failed("first", ProviderRateLimited())]
        assert bench.calls == (1,)
        assert anyio.current_time() < 1


@pytest.mark.promise("upstream:bounded")
async def test_all_tries_of_an_entry_share_the_first_token_deadline() -> None:
    provider = Takes([40.0, ProviderUnavailable()], [HOLD])
    async with supervising(provider) as bench:
        done = await bench.done()
        assert done == failed("first", ProviderUnavailable(), usage=counted(0))
        assert bench.calls == (2,)
        assert anyio.current_time() == pytest.approx(FIRST_TOKEN)


@pytest.mark.promise("upstream:bounded")
async def test_an_entry_past_its_deadline_is_not_retried() -> None:
    provider = ScriptedProvider(FIRST_TOKEN - 0.1, ProviderUnavailable())
    async with supervising(provider, backoff_seconds=1.0) as bench:
        await bench.answer()
        assert bench.calls == (1,)


async def test_each_call_gets_the_number_of_the_attempt() -> None:
    first, second = ScriptedProvider(ProviderUnavailable()), ScriptedProvider(*WELL)
    async with supervising(first, second, attempts=2) as bench:
        await bench.answer()
    assert [prompt.call for prompt in first.prompts] == [1, 2]
    assert second.prompts == [msgspec.structs.replace(PROMPT, call=3)]
