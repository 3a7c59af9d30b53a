"""What every limiter does: one suite over the form in memory and the form in Redis."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from streamsvc.config.settings import LimitSettings
from streamsvc.errors import RateLimited
from streamsvc.guard.limits.memory import MemoryLimiter
from streamsvc.guard.limits.redis import RedisLimiter
from streamsvc.messages import ImagePart, Prompt, TextPart, UserMessage
from support import parts
from support.limiters import Clock, Process, in_memory, in_redis, principal
from support.redis_programs import KINDS
from support.redis_servers import RedisServer, running_redis

pytestmark = pytest.mark.promise("door:bounded")


class Bench:
    """Starts processes with one kind of limiter."""

    def __init__(self, server: RedisServer | None, prefix: str) -> None:
        self.clock = Clock()
        self._server = server
        self._prefix = prefix

    def start(self, **in_all: int) -> Any:
        if self._server is None:
            return in_memory(self.clock, **in_all)
        return in_redis(self._server.url, self._prefix, **in_all)

    async def is_about(self, error: RateLimited, seconds: float) -> None:
        """Check when a request would be admitted: exactly in memory, and in Redis but for the time that has passed."""
        assert error.wait_seconds is not None
        if self._server is None:
            assert error.wait_seconds == pytest.approx(seconds, abs=1e-6)
        else:
            assert seconds - 10 < error.wait_seconds <= seconds

    async def wait(self, seconds: float) -> None:
        if self._server is None:
            self.clock.seconds += seconds
        else:
            await anyio.sleep(seconds)


@pytest.fixture(scope="module", params=["memory", *parts.each(KINDS)])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer | None]:
    """The server of each kind of Redis, or None for the form in memory."""
    if request.param == "memory":
        yield None
        return
    with running_redis(request.param) as server:
        yield server


@pytest.fixture
def bench(server: RedisServer | None, key_prefix: str) -> Bench:
    return Bench(server, key_prefix)


@pytest.fixture
async def process(bench: Bench) -> AsyncIterator[Process]:
    async with bench.start() as process:
        yield process


async def test_a_minutes_requests_are_admitted_and_not_one_more(
    bench: Bench, process: Process
) -> None:
    caller = principal(requests_per_minute=5)
    assert await process.admitted(caller) == 5
    refused = await process.refusal(caller)
    await bench.is_about(refused, 12)
    assert refused.log_details == {
        "limit": "principal_limits.requests_per_minute",
        "principal": caller.name,
    }
    assert "requests_per_minute: 5)" in refused.message


async def test_other_limits_of_all_count_from_now_on(process: Process) -> None:
    """What has been used counts against them."""
    caller = principal()
    assert await process.admitted(caller, most=5) == 5
    limiter = process.limiter
    assert isinstance(limiter, MemoryLimiter | RedisLimiter)
    limiter.use(LimitSettings(requests_per_minute=3))
    assert await process.admitted(caller) == 3
    limiter.use(LimitSettings(requests_per_minute=5))
    assert await process.admitted(caller) == 2


async def test_a_refused_request_is_admitted_when_it_was_told(
    bench: Bench, process: Process
) -> None:
    caller = principal(requests_per_minute=600)
    await process.admitted(caller)
    refused = await process.refusal(caller)
    assert refused.wait_seconds is not None
    await bench.wait(refused.wait_seconds)
    await process.admit(caller)


async def test_refusals_cost_nothing(bench: Bench, process: Process) -> None:
    caller = principal(requests_per_minute=2)
    await process.admitted(caller)
    for _ in range(20):
        await bench.is_about(await process.refusal(caller), 30)


async def test_tokens_are_charged_as_they_may_be_used(bench: Bench, process: Process) -> None:
    caller = principal(tokens_per_minute=100)
    assert await process.admitted(caller, tokens=30) == 3
    refused = await process.refusal(caller, tokens=30)
    await bench.is_about(refused, 12)
    assert refused.log_details == {
        "limit": "principal_limits.tokens_per_minute",
        "principal": caller.name,
    }
    await process.admit(caller, tokens=10)


async def test_unused_tokens_are_given_back(process: Process) -> None:
    caller = principal(tokens_per_minute=100)
    first = await process.admit(caller, tokens=100)
    assert await process.admitted(caller, tokens=40) == 0
    process.limiter.settle(first, 20)
    await process.settled()
    assert await process.admitted(caller, tokens=40) == 2


async def test_an_answer_that_cost_nothing_is_given_back_whole(process: Process) -> None:
    caller = principal(tokens_per_minute=100, requests_per_minute=60)
    first = await process.admit(caller, tokens=100)
    process.limiter.settle(first, 0)
    await process.settled()
    await process.admit(caller, tokens=100)


async def test_unknown_usage_stays_as_it_was_charged(process: Process) -> None:
    caller = principal(tokens_per_minute=100)
    process.limiter.settle(await process.admit(caller, tokens=90), None)
    await process.settled()
    assert await process.admitted(caller, tokens=20) == 0


async def test_more_tokens_than_charged_are_a_debt(bench: Bench, process: Process) -> None:
    caller = principal(tokens_per_minute=100)
    process.limiter.settle(await process.admit(caller, tokens=50), 250)
    await process.settled()
    await bench.is_about(await process.refusal(caller, tokens=50), 120)


async def test_a_request_above_the_limit_needs_an_empty_bucket(
    bench: Bench, process: Process
) -> None:
    caller = principal(tokens_per_minute=100)
    first = await process.admit(caller, tokens=5000)
    await bench.is_about(await process.refusal(caller, tokens=5000), 60)
    process.limiter.settle(first, 130)
    await process.settled()
    await bench.is_about(await process.refusal(caller, tokens=10), 24)


async def test_a_cancelled_admission_leaves_no_trace(process: Process) -> None:
    caller = principal(requests_per_minute=1, tokens_per_minute=100, max_generations=1)
    for _ in range(5):
        process.limiter.cancel(await process.admit(caller, tokens=100))
        await process.settled()


async def test_an_admission_ends_once(process: Process) -> None:
    caller = principal(tokens_per_minute=100, max_generations=2)
    one, other = await process.admit(caller, tokens=40), await process.admit(caller, tokens=40)
    for _ in range(3):
        process.limiter.settle(one, 40)
        process.limiter.cancel(one)
        await process.settled()
    process.limiter.settle("gen_unknown", 1000)
    await process.settled()
    assert await process.admitted(caller, tokens=20) == 1
    process.limiter.settle(other, 40)


async def test_everything_is_charged_or_nothing(bench: Bench, process: Process) -> None:
    caller = principal(requests_per_minute=2, tokens_per_minute=100)
    await process.admit(caller, tokens=90)
    for _ in range(5):
        refused = await process.refusal(caller, tokens=90)
        assert "tokens_per_minute" in refused.log_details["limit"]
    await process.admit(caller, tokens=10)  # the request is still there
    refused = await process.refusal(caller, tokens=10)  # the longer wait counts
    assert "requests_per_minute" in refused.log_details["limit"]
    await bench.is_about(refused, 30)


async def test_all_principals_share_the_limits_in_all(bench: Bench) -> None:
    async with bench.start(requests_per_minute=4, tokens_per_minute=1000) as process:
        assert await process.admitted(principal("one", requests_per_minute=3)) == 3
        assert await process.admitted(principal("two")) == 1
        refused = await process.refusal(principal("three"))
        assert refused.log_details == {"limit": "limits.requests_per_minute", "principal": "three"}
        assert not any(it.isdigit() for it in refused.message.partition(";")[0])


async def test_a_principal_does_not_use_what_another_has(process: Process) -> None:
    flooding, calm = (
        principal("flood", requests_per_minute=3),
        principal("calm", requests_per_minute=2),
    )
    await process.admitted(flooding)
    for _ in range(20):
        await process.refusal(flooding)
    assert await process.admitted(calm) == 2
    assert await process.admitted(principal("", requests_per_minute=1)) == 1


async def test_generations_at_once_are_leases(process: Process) -> None:
    caller = principal(max_generations=2)
    one, _ = await process.admit(caller), await process.admit(caller)
    refused = await process.refusal(caller)
    assert (refused.wait_seconds, refused.retry_after_seconds) == (None, 2)
    assert refused.log_details == {
        "limit": "principal_limits.max_generations",
        "principal": caller.name,
    }
    await process.admit(principal("another", max_generations=1))
    process.limiter.settle(one, 5)
    await process.settled()
    assert await process.admitted(caller) == 1


async def test_viewers_at_once_are_leases(process: Process) -> None:
    caller = principal(max_viewers=2)
    one, other = [await process.limiter.viewer(caller) for _ in range(2)]
    assert one
    assert other
    for _ in range(3):
        with pytest.raises(RateLimited, match="max_viewers: 2") as caught:
            await process.limiter.viewer(caller)
        assert caught.value.log_details == {
            "limit": "principal_limits.max_viewers",
            "principal": caller.name,
        }
    one.join()
    one.leave()
    await process.settled()
    last = await process.limiter.viewer(caller)
    assert last
    last.leave()
    other.leave()


async def test_what_has_no_limit_is_not_counted(process: Process) -> None:
    assert await process.admitted(principal(), tokens=10**6, most=50) == 50
    assert await process.limiter.viewer(principal()) is None


async def test_a_new_limit_applies_to_what_was_charged(bench: Bench, process: Process) -> None:
    assert await process.admitted(principal(requests_per_minute=10)) == 10
    await bench.is_about(await process.refusal(principal(requests_per_minute=5)), 72)
    assert await process.admitted(principal(requests_per_minute=15)) == 5


async def test_an_image_is_a_thousand_tokens(process: Process) -> None:
    caller = principal(tokens_per_minute=3000)
    asked = UserMessage((TextPart("question"), ImagePart(url="https://example.com/a.png")))
    await process.limiter.admit("gen_image", caller, Prompt(messages=(asked,), max_tokens=998))
    assert await process.admitted(caller, tokens=500) == 2


async def test_an_answer_without_max_tokens_reserves_what_is_configured(bench: Bench) -> None:
    async with bench.start(reserve_tokens=400) as process:
        caller = principal(tokens_per_minute=1000)
        asked = Prompt(messages=(UserMessage("question"),))
        await process.limiter.admit("gen_1", caller, asked)
        await process.limiter.admit("gen_2", caller, asked)
        assert await process.admitted(caller, tokens=190) == 1


async def test_the_largest_limits_are_counted(process: Process) -> None:
    most = 10**12
    caller = principal(
        requests_per_minute=most, tokens_per_minute=most, max_generations=most, max_viewers=most
    )
    seat = await process.limiter.viewer(caller)
    assert seat
    seat.leave()
    process.limiter.settle(await process.admit(caller, tokens=most), most)
    await process.settled()
    assert "tokens_per_minute" in (await process.refusal(caller, tokens=most)).log_details["limit"]
