"""Timers that viewers share: when they call, and that nothing of them is left."""

import asyncio

from typing_extensions import override

from streamsvc.web.stream.rounds import Rounds, Timed

SECONDS = 0.05


class Waiting(Timed):
    """Notes when it is called."""

    def __init__(self) -> None:
        self.called: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    @override
    def on_time(self) -> None:
        self.called.set_result(asyncio.get_running_loop().time())


class Failing(Timed):
    @override
    def on_time(self) -> None:
        raise RuntimeError


async def test_those_due_at_about_the_same_time_share_a_timer() -> None:
    rounds, when = Rounds(SECONDS), 1000 * SECONDS
    one = rounds.join(when - SECONDS / 2, Waiting())
    assert rounds.join(when - SECONDS / 4, Waiting()) is one
    assert rounds.join(when + SECONDS / 2, Waiting()) is not one
    assert len(rounds) == 2


async def test_nobody_is_called_before_the_time() -> None:
    rounds, waiting = Rounds(SECONDS), [Waiting() for _ in range(3)]
    when = asyncio.get_running_loop().time() + SECONDS / 3
    for it in waiting:
        rounds.join(when, it)
    async with asyncio.timeout(20):
        times = [await it.called for it in waiting]
    assert min(times) >= when - 0.002  # the resolution of the loop's clock
    assert len(rounds) == 0


async def test_timer_ends_when_all_have_left_its_round() -> None:
    rounds, gone, stays = Rounds(SECONDS), Waiting(), Waiting()
    when = asyncio.get_running_loop().time() + SECONDS
    joined = rounds.join(when, gone)
    rounds.join(when, stays)
    joined.leave(gone)
    async with asyncio.timeout(20):
        await stays.called
    assert not gone.called.done()
    joined = rounds.join(when + 100, gone)
    joined.leave(gone)
    assert len(rounds) == 0


async def test_leaving_a_round_that_is_over_ends_no_other() -> None:
    rounds, early, late = Rounds(SECONDS), Waiting(), Waiting()
    when = asyncio.get_running_loop().time()
    over = rounds.join(when, early)
    async with asyncio.timeout(20):
        await early.called
        rounds.join(when, late)
        over.leave(early)
        await late.called


async def test_one_that_fails_makes_no_other_wait() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    rounds, when = Rounds(SECONDS), loop.time()
    waiting = [Waiting() for _ in range(3)]
    for it in (waiting[0], Failing(), *waiting[1:]):
        rounds.join(when, it)
    async with asyncio.timeout(20):
        for it in waiting:
            await it.called
