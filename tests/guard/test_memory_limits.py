"""The memory of the limiter in memory is bounded: principals come from tokens, so there may be any number of them."""

import pytest

from streamsvc.config.settings import LimitSettings
from streamsvc.guard.limits.memory import MemoryLimiter
from support.limiters import Clock, Process, principal

pytestmark = pytest.mark.promise("door:bounded")


def limiting() -> tuple[MemoryLimiter, Process, Clock]:
    clock = Clock()
    limiter = MemoryLimiter(LimitSettings(), clock)
    return limiter, Process(limiter), clock


async def test_principals_with_an_empty_bucket_are_forgotten() -> None:
    limiter, process, clock = limiting()
    for number in range(10_000):
        caller = principal(f"user-{number}", requests_per_minute=60)
        process.limiter.settle(await process.admit(caller), 5)
        clock.seconds += 0.1
    # A bucket is empty after a second, in which ten others come.
    assert limiter.size <= 25


async def test_principals_who_owe_something_are_remembered() -> None:
    limiter, process, clock = limiting()
    held = principal("held", max_generations=1)
    watching = principal("watching", max_viewers=1)
    owing = principal("owing", tokens_per_minute=100)
    await process.admit(held)
    seat = await limiter.viewer(watching)
    assert seat
    limiter.settle(await process.admit(owing), 10**6)
    for number in range(100):
        clock.seconds += 60
        limiter.settle(await process.admit(principal(f"user-{number}", requests_per_minute=1)), 5)
    assert limiter.size <= 6
    for caller in (held, owing):
        await process.refusal(caller)
    seat.leave()


async def test_no_other_process_takes_over() -> None:
    limiter, process, _ = limiting()
    caller = principal(max_generations=1)
    limiter.resume("gen_foreign", caller.name)
    generation = await process.admit(caller)
    limiter.hand_over(generation)
    limiter.settle(generation, 5)
    await process.admit(caller)
