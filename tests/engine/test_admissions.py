"""Each generation is admitted once and settled once, whatever happens to it, in whichever process."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from streamsvc.engine.admission import Unlimited
from streamsvc.errors import Draining, GenerationNotFound, InvalidField, Overloaded, RateLimited
from streamsvc.eventlog.base import LogTakenOver
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.events import Done, Outcome, Text, Usage
from streamsvc.messages import GenerationRequest
from streamsvc.principals import ANONYMOUS, Principal
from streamsvc.provider_errors import ProviderUnavailable
from streamsvc.providers.base import Finish
from support.bookkeeping import CANCELLED, Bookkeeper, Books
from support.doubles import (
    HOLD,
    PROMPT,
    ScriptedProvider,
    SlowLog,
    Step,
    run_in_virtual_time,
    virtual_backends,
)
from support.shared_store import SharedStore, Worker, workers
from support.supervisors import OTHER_REQUEST, REQUEST, STOP, Bench

anyio_backend = virtual_backends()
pytestmark = pytest.mark.promise("door:bounded")

INPUT = 1
"""The estimated tokens of the prompt."""


class FailingLog(SlowLog):
    """Cannot store a `Start`."""

    @override
    async def flush(self, generation: str) -> None:
        await super().flush(generation)
        raise Overloaded("the log")


class LostLog(SlowLog):
    """Is so slow that another process may have taken over."""

    @override
    async def flush(self, generation: str) -> None:
        await anyio.lowlevel.checkpoint()
        raise LogTakenOver(generation)


@asynccontextmanager
async def keeping(
    *script: Step, room: int = 100, log: type[MemoryEventLog] = SlowLog
) -> AsyncIterator[tuple[Bench, Bookkeeper, Books]]:
    books = Books()
    keeper = Bookkeeper(books)
    with anyio.fail_after(10_000):
        async with Bench(
            {"fake": ScriptedProvider(*script)}, room=room, log=log, limiter=keeper
        ) as bench:
            yield bench, keeper, books


@pytest.mark.parametrize(
    ("script", "tokens"),
    [
        ((Text("a"), Finish(reason="stop", usage=Usage(input_tokens=3, output_tokens=4))), 7),
        ((Text("a"), Text("b"), STOP), INPUT + 2),
        ((ProviderUnavailable(),), 0),
        ((ZeroDivisionError(),), INPUT),
        ((Text("a"), ZeroDivisionError()), INPUT + 1),
        ((Text("a"), HOLD), INPUT + 1),
        ((HOLD,), INPUT),
    ],
)
async def test_tokens_that_are_charged_at_the_end(script: Sequence[Step], tokens: int) -> None:
    async with keeping(*script) as (bench, _, books):
        generation = await bench.create(REQUEST)
        with bench.viewer(generation):
            await anyio.sleep(20)  # no deadline is near
        await bench.done(generation)
        await anyio.wait_all_tasks_blocked()
        assert books.all_ends == [tokens]


async def test_a_stopped_generation_is_settled_once() -> None:
    async with keeping(Text("a"), HOLD) as (bench, _, books):
        generation = await bench.create(REQUEST)
        await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            await bench.stop(generation)
        await anyio.wait_all_tasks_blocked()
        assert books.all_ends == [INPUT + 1]


async def test_an_answer_that_nobody_opens_is_settled() -> None:
    async with keeping(HOLD) as (bench, _, books):
        generation = await bench.create(REQUEST)
        assert (await bench.done(generation)).outcome is Outcome.NO_VIEWERS
        await anyio.wait_all_tasks_blocked()
        assert books.all_ends == [INPUT]


async def test_what_the_limiter_refuses_does_not_start() -> None:
    async with keeping(STOP) as (bench, keeper, books):
        keeper.refuses = True
        with pytest.raises(RateLimited):
            await bench.create(REQUEST)
        assert (bench.running, len(bench.log), books.ends) == (0, 0, {})
        assert [entry.running for entry in bench.entries] == [0]


async def test_what_is_refused_otherwise_is_not_charged() -> None:
    async with keeping(HOLD, room=1) as (bench, _, books):
        with pytest.raises(InvalidField):
            await bench.create(GenerationRequest(prompt=PROMPT, provider="unknown"))
        first = await bench.create(REQUEST)
        with pytest.raises(Overloaded):
            await bench.create(REQUEST)
        await bench.stop(first)
        await bench.drain(0)
        with pytest.raises(Draining):
            await bench.create(REQUEST)
        assert books.all_ends == [INPUT]


async def test_a_drain_that_begins_while_it_is_admitted_cancels_it() -> None:
    async with keeping(STOP) as (bench, keeper, books), anyio.create_task_group() as tasks:
        keeper.admitting = lambda: setattr(bench, "_is_draining", True)
        tasks.start_soon(bench.drain, 0)
        with pytest.raises(Draining):
            await bench.create(REQUEST)
        assert books.all_ends in ([CANCELLED], [])


async def test_the_limit_of_the_process_holds_while_others_are_admitted() -> None:
    async with keeping(HOLD, room=2) as (bench, _, books):
        refused = 0

        async def create() -> None:
            nonlocal refused
            try:
                await bench.create(REQUEST)
            except Overloaded:
                refused += 1

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(create)
        assert (bench.running, refused, len(books.holders)) == (2, 3, 2)
        await bench.drain(0)
        assert sorted(map(str, books.all_ends)) == sorted(map(str, [CANCELLED] * 3 + [INPUT] * 2))


@pytest.mark.parametrize("log", [FailingLog, LostLog])
async def test_what_cannot_be_stored_is_cancelled(log: type[MemoryEventLog]) -> None:
    async with keeping(STOP, log=log) as (bench, _, books):
        with pytest.raises(Overloaded):
            await bench.create(REQUEST)
        assert bench.running == 0
        assert books.all_ends == [CANCELLED]


async def test_a_repeat_with_the_same_key_is_not_charged() -> None:
    async with keeping(HOLD) as (bench, keeper, books):
        first = await bench.create(REQUEST, key="k")
        keeper.refuses = True
        assert await bench.create(REQUEST, key="k") == first
        with pytest.raises(InvalidField):
            await bench.create(OTHER_REQUEST, key="k")
        with pytest.raises(RateLimited):
            await bench.create(REQUEST, key="another")
        keeper.refuses = False
        assert await bench.create(REQUEST, key="another") != first
        await bench.drain(0)
        assert books.all_ends == [INPUT, INPUT]


async def test_the_lease_of_a_viewer_ends_with_its_stream_or_its_refusal() -> None:
    async with keeping(HOLD) as (bench, keeper, _):
        generation = await bench.create(REQUEST)
        async with bench.viewer_place(ANONYMOUS) as lease:
            assert keeper.seats == 1
        with bench.viewer(generation, lease) as slot:
            assert keeper.seats == 1
            slot.leave()
            assert keeper.seats == 0
        with pytest.raises(ZeroDivisionError):
            async with bench.viewer_place(ANONYMOUS):
                raise ZeroDivisionError
        with anyio.CancelScope() as scope:
            async with bench.viewer_place(ANONYMOUS):
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        assert (keeper.seats, bench.viewers) == (0, 0)


async def test_a_process_with_a_single_user_has_no_limits() -> None:
    async with Bench({"fake": ScriptedProvider(STOP)}, log=FailingLog, limiter=Unlimited()) as it:
        for _ in range(2):
            with pytest.raises(Overloaded, match="the log"):
                await it.create(REQUEST)
        async with it.viewer_place(ANONYMOUS) as lease:
            assert lease is None


# ---- Several processes


def worker(store: SharedStore, books: Books, *script: Step, **settings: Any) -> Worker:
    return Worker(store, {"fake": ScriptedProvider(*script)}, limiter=Bookkeeper(books), **settings)


async def test_who_takes_over_settles() -> None:
    store, books = SharedStore(), Books()
    dying = worker(store, books, Text("a"), HOLD)
    living = worker(store, books, Text("a"), Text("b"), STOP)
    async with workers(dying, living):
        generation = await dying.start(REQUEST)
        await anyio.wait_all_tasks_blocked()
        dying.die()
        await living.events(generation)
        await anyio.wait_all_tasks_blocked()
        assert books.all_ends == [INPUT + 2]


async def test_who_takes_over_what_cannot_go_on_settles() -> None:
    store, books = SharedStore(), Books()
    dying = worker(store, books, Text("a"), HOLD)
    living = worker(store, books, STOP, generations={"rescue": False})
    async with workers(dying, living):
        generation = await dying.start(REQUEST)
        await anyio.wait_all_tasks_blocked()
        dying.die()
        done = (await living.events(generation))[-1]
        assert isinstance(done, Done)
        assert done.outcome is Outcome.UPSTREAM_LOST
        await anyio.wait_all_tasks_blocked()
        assert books.all_ends == [INPUT + 1]


async def test_a_process_that_was_replaced_settles_nothing() -> None:
    store, books = SharedStore(), Books()
    sleeping = worker(store, books, Text("a"), HOLD)
    living = worker(store, books, Text("a"), HOLD)
    async with workers(sleeping, living):
        generation = await sleeping.start(REQUEST)
        with sleeping.viewer(generation), living.viewer(generation):
            await anyio.wait_all_tasks_blocked()
            sleeping.fall_asleep(generation)
            await anyio.wait_all_tasks_blocked()
            for running in list(sleeping.directory.running_here):
                running.stop(Outcome.UPSTREAM_LOST)
            await anyio.wait_all_tasks_blocked()
            assert [*books.holders] == [generation]
            await living.stop(generation)
        await anyio.wait_all_tasks_blocked()
        assert books.all_ends == [INPUT + 1]


async def test_a_drained_process_hands_its_admissions_over() -> None:
    store, books = SharedStore(), Books()
    leaving = worker(store, books, Text("a"), HOLD)
    staying = worker(store, books, Text("a"), Text("b"), STOP)
    async with workers(leaving, staying):
        generations = [await leaving.start(REQUEST) for _ in range(3)]
        await anyio.wait_all_tasks_blocked()
        await leaving.drain(3)
        for generation in generations:
            await staying.events(generation)
        await anyio.wait_all_tasks_blocked()
        assert books.all_ends == [INPUT + 2] * 3


# ---- Anything in any order

SCRIPTS: Sequence[Sequence[Step]] = (
    (1.0, Text("a"), STOP),
    (Text("a"), HOLD),
    (HOLD,),
    (ProviderUnavailable(),),
    (2.0, ZeroDivisionError()),
)
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["create", "abort", "watch", "leave", "stop", "refuse", "wait"]),
        st.integers(0, 4),
    ),
    max_size=30,
)


@given(ACTS, st.sampled_from(["asyncio", "trio"]))
def test_whatever_happens_each_admission_ends_once(
    acts: list[tuple[str, int]], backend: str
) -> None:
    run_in_virtual_time(backend, lambda: _act(acts))


async def _act(acts: Sequence[tuple[str, int]]) -> None:  # noqa: C901  # one case for each act
    books = Books()
    keeper = Bookkeeper(books)
    providers = {f"p{number}": ScriptedProvider(*it) for number, it in enumerate(SCRIPTS)}
    async with Bench(providers, room=4, log=SlowLog, limiter=keeper) as bench:
        caller, made, slots = Principal(name="one"), list[str](), list[Any]()
        for act, number in acts:
            order = GenerationRequest(prompt=PROMPT, provider=f"p{number}")
            with suppress(Overloaded, GenerationNotFound, IndexError):
                match act:
                    case "create":
                        made.append(await bench.create(order, caller=caller))
                    case "abort":
                        with anyio.move_on_after(0):
                            made.append(await bench.create(order, caller=caller))
                    case "watch":
                        async with bench.viewer_place(caller) as lease:
                            slot = bench.viewer(made[number], lease).__enter__()
                        slots.append(slot)
                    case "leave":
                        slots.pop(number % len(slots) if slots else 0).leave()
                    case "stop":
                        await bench.stop(made[number])
                    case "refuse":
                        keeper.refuses = not keeper.refuses
                    case _:
                        await anyio.sleep(number)
        for slot in slots:
            slot.leave()
        await bench.drain(1)
        assert bench.running == keeper.seats == 0
        assert len(books.all_ends) >= len(made)
