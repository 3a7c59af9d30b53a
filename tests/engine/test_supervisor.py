"""The supervisor starts generations, finds them, stops them, and drains them at shutdown."""

import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
import pytest
from typing_extensions import override

from streamsvc.config.settings import GenerationSettings, LimitSettings, OpenAISettings, Settings
from streamsvc.engine.directory.memory import KEYS_AT_A_TIME, MemoryDirectory
from streamsvc.engine.supervisor import Supervisor, new_id
from streamsvc.errors import (
    Draining,
    GenerationNotFound,
    InvalidField,
    Overloaded,
    ProviderNotReady,
)
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.events import Done, Outcome, Status, Text
from streamsvc.messages import GenerationRequest, Message, Prompt
from streamsvc.providers.base import Finish, Provider
from streamsvc.providers.registry import ProviderRegistry
from support.doubles import (
    HOLD,
    PROMPT,
    Providers,
    ScriptedProvider,
    SlowLog,
    Step,
    events_of,
    virtual_backends,
)

anyio_backend = virtual_backends()

STOP = Finish(reason="stop")
KEEP = 300.0
REQUEST = GenerationRequest(prompt=PROMPT, provider="fake")
OTHER_REQUEST = GenerationRequest(
    prompt=Prompt(messages=(Message("user", "else"),)), provider="fake"
)


class Bench(Supervisor):
    """A supervisor over scripts and a log in memory.

    Args:
        providers: by entry name; every entry has room for *entry_room* generations.
        room: how many generations may run at once.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        *,
        room: int = 100,
        entry_room: int = 100,
        log: type[MemoryEventLog] = SlowLog,
    ) -> None:
        registry = Providers(providers, max_generations=entry_room)
        settings = Settings(
            generations=GenerationSettings(keep_finished_seconds=KEEP, keep_abandoned_seconds=KEEP),
            limits=LimitSettings(max_generations=room, max_viewers=3),
            providers=dict(registry.entries),
        )
        self.log = log(settings.generations)
        self.directory = MemoryDirectory(self.log, settings)
        super().__init__(
            providers=registry, log=self.log, directory=self.directory, settings=settings
        )

    async def done(self, generation_id: str) -> Done:
        """How a generation ended."""
        done = (await events_of(self.log, generation_id))[-1]
        assert isinstance(done, Done)
        return done


@asynccontextmanager
async def supervising(*script: Step, room: int = 100) -> AsyncIterator[Bench]:
    """A supervisor whose one provider, `fake`, does what the script says; and a sweeper."""
    with anyio.fail_after(10_000):
        async with (
            Bench({"fake": ScriptedProvider(*script)}, room=room) as bench,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(bench.log.sweep)
            yield bench
            tasks.cancel_scope.cancel()


def test_ids_are_unguessable_and_fit_every_wire() -> None:
    """160 random bits; letters and digits, so that a cursor is short and needs no quoting."""
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"gen_[a-z2-7]{32}", one) for one in ids)


async def test_a_created_generation_is_readable_and_runs_to_its_end() -> None:
    async with supervising(1.0, Text("a"), STOP) as bench:
        generation = await bench.create(REQUEST)
        assert len(await bench.log.read(generation, after=-1)) == 1
        assert bench.running == 1
        assert (await bench.done(generation)).status is Status.COMPLETED
        await anyio.wait_all_tasks_blocked()
        assert bench.running == 0


@pytest.mark.promise("fan-out:shared")
async def test_any_number_of_viewers_share_one_call_to_the_provider() -> None:
    provider = ScriptedProvider(1.0, Text("a"), 1.0, STOP)
    async with Bench({"fake": provider}) as bench:
        generation = await bench.create(REQUEST)
        ends: list[Done] = []

        async def view() -> None:
            with bench.viewer(generation):
                ends.append(await bench.done(generation))

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(view)
            await anyio.wait_all_tasks_blocked()
            assert bench.viewers == 10
        assert bench.viewers == 0
        assert provider.opened == 1
        assert [end.status for end in ends] == [Status.COMPLETED] * 10


@pytest.mark.promise("cancel:disconnect")
async def test_the_last_viewer_leaving_stops_it() -> None:
    async with supervising(HOLD) as bench:
        generation = await bench.create(REQUEST)
        with bench.viewer(generation), bench.viewer(generation):
            await anyio.sleep(1)
            assert bench.running == 1
        left_at = anyio.current_time()
        assert (await bench.done(generation)).outcome is Outcome.NO_VIEWERS
        assert anyio.current_time() == pytest.approx(left_at, abs=0.001)


async def test_a_viewer_of_an_ended_generation_only_counts() -> None:
    async with supervising(Text("a"), STOP) as bench:
        generation = await bench.create(REQUEST)
        first = await bench.done(generation)
        await anyio.wait_all_tasks_blocked()
        with bench.viewer(generation):
            assert bench.viewers == 1
        assert bench.viewers == 0
        assert await bench.done(generation) == first


@pytest.mark.promise("input:clear-error")
async def test_one_viewer_too_many_is_refused() -> None:
    async with supervising(HOLD) as bench:
        generation = await bench.create(REQUEST)
        with bench.viewer(generation), bench.viewer(generation):
            bench.check_viewers()
            with bench.viewer(generation), pytest.raises(Overloaded):
                bench.check_viewers()
            bench.check_viewers()


@pytest.mark.promise("end:exactly-one")
async def test_a_generation_that_crashes_harms_no_other() -> None:
    crashing = ScriptedProvider(1.0, RuntimeError("x"))
    async with Bench({"a": crashing, "b": ScriptedProvider(2.0, Text("a"), STOP)}) as bench:
        bad = await bench.create(GenerationRequest(prompt=PROMPT, provider="a"))
        good = await bench.create(GenerationRequest(prompt=PROMPT, provider="b"))
        assert (await bench.done(bad)).outcome is Outcome.INTERNAL_ERROR
        assert (await bench.done(good)).outcome is Outcome.COMPLETED


@pytest.mark.promise("input:clear-error")
async def test_an_unknown_provider_is_refused_with_the_known_names() -> None:
    async with Bench({"b": ScriptedProvider(), "a": ScriptedProvider()}) as bench:
        with pytest.raises(InvalidField, match=r"configured are: a, b\.") as caught:
            await bench.create(REQUEST)
        assert caught.value.field == "provider"
        assert bench.running == len(bench.log) == 0


@pytest.mark.promise("input:clear-error")
async def test_a_provider_without_its_key_is_refused() -> None:
    entries = {"fake": OpenAISettings(model="m", api_key_env="A_KEY")}
    settings = Settings(providers={**entries})
    log = SlowLog(settings.generations)
    registry = ProviderRegistry(entries, {"A_KEY": ""})
    directory = MemoryDirectory(log, settings)
    async with Supervisor(
        providers=registry, log=log, directory=directory, settings=settings
    ) as supervisor:
        with pytest.raises(ProviderNotReady, match="its key is not set"):
            await supervisor.create(REQUEST)
        assert len(log) == 0


@pytest.mark.promise("input:clear-error")
async def test_one_generation_too_many_is_refused_until_another_ends() -> None:
    async with supervising(HOLD, room=2) as bench:
        first = await bench.create(REQUEST)
        await bench.create(REQUEST)
        with pytest.raises(Overloaded):
            await bench.create(REQUEST)
        assert len(bench.log) == 2
        await bench.stop(first)
        await anyio.wait_all_tasks_blocked()
        await bench.create(REQUEST)


@pytest.mark.promise("input:clear-error")
async def test_an_entry_has_a_bound_of_its_own() -> None:
    providers = {"a": ScriptedProvider(HOLD), "b": ScriptedProvider(HOLD)}
    async with Bench(providers, entry_room=1) as bench:
        await bench.create(GenerationRequest(prompt=PROMPT, provider="a"))
        with pytest.raises(Overloaded):
            await bench.create(GenerationRequest(prompt=PROMPT, provider="a"))
        await bench.create(GenerationRequest(prompt=PROMPT, provider="b"))


@pytest.mark.promise("cancel:stop")
async def test_a_stop_returns_after_the_end_and_may_be_repeated() -> None:
    async with supervising(Text("a"), HOLD) as bench:
        generation = await bench.create(REQUEST)
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            await bench.stop(generation)
            *_, last = await bench.log.read(generation, after=-1)
            assert isinstance(last.event, Done)
            assert last.event.outcome is Outcome.CLIENT_STOP


@pytest.mark.promise("cancel:stop")
async def test_a_stop_leaves_what_has_ended_as_it_is() -> None:
    async with supervising(Text("a"), STOP) as bench:
        generation = await bench.create(REQUEST)
        done = await bench.done(generation)
        await bench.stop(generation)
        assert await bench.done(generation) == done


@pytest.mark.promise("cancel:stop")
async def test_many_stops_at_once_are_one() -> None:
    async with supervising(HOLD) as bench:
        generation = await bench.create(REQUEST)
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(bench.stop, generation)
        assert (await bench.done(generation)).outcome is Outcome.CLIENT_STOP


@pytest.mark.promise("input:clear-error")
async def test_what_never_was_or_is_no_longer_kept_cannot_be_stopped() -> None:
    async with supervising(Text("a"), STOP) as bench:
        with pytest.raises(GenerationNotFound):
            await bench.stop("gen_never")
        generation = await bench.create(REQUEST)
        await anyio.sleep(KEEP + 1)
        with pytest.raises(GenerationNotFound):
            await bench.stop(generation)


@pytest.mark.promise("cancel:stop")
async def test_a_stop_waits_only_so_long_for_a_provider_to_close() -> None:
    provider = ScriptedProvider(HOLD, leaving=60.0)
    async with Bench({"fake": provider}) as bench:
        generation = await bench.create(REQUEST)
        await anyio.wait_all_tasks_blocked()
        began = anyio.current_time()
        await bench.stop(generation)
        assert anyio.current_time() - began < 10


@pytest.mark.promise("drain:no-loss")
async def test_a_drain_takes_no_new_work_and_waits_for_what_is_running() -> None:
    async with supervising(3.0, Text("a"), 3.0, STOP) as bench, anyio.create_task_group() as tasks:
        first = await bench.create(REQUEST)
        await anyio.sleep(1)
        second = await bench.create(REQUEST)
        began = anyio.current_time()
        was_draining = bench.is_draining
        tasks.start_soon(bench.drain, 60.0)
        await anyio.wait_all_tasks_blocked()
        assert (was_draining, bench.is_draining) == (False, True)
        with pytest.raises(Draining):
            await bench.create(REQUEST)
        for generation in (first, second):
            with bench.viewer(generation):
                assert (await bench.done(generation)).status is Status.COMPLETED
        assert anyio.current_time() - began == pytest.approx(6, abs=0.001)
        await anyio.wait_all_tasks_blocked()
        assert bench.running == 0


@pytest.mark.promise("drain:no-loss")
@pytest.mark.parametrize("seconds", [0.0, 5.0])
async def test_a_drain_cuts_what_is_left_at_its_bound_and_says_so(
    caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    caplog.set_level(logging.INFO)
    async with supervising(Text("a"), HOLD) as bench:
        generations = [await bench.create(REQUEST) for _ in range(3)]
        await anyio.wait_all_tasks_blocked()
        began = anyio.current_time()
        await bench.drain(seconds)
        assert anyio.current_time() - began == pytest.approx(seconds, abs=0.001)
        assert bench.running == 0
        for generation in generations:
            done = await bench.done(generation)
            assert (done.status, done.outcome) == (Status.FAILED, Outcome.DRAINED)
            assert done.error is not None
            assert (done.error.code, done.error.retryable) == ("drained", True)
    told = [record.getMessage() for record in caplog.records if "drain." in record.getMessage()]
    started = f"drain.started generations=3 viewers=0 seconds={seconds:g}"
    assert told == [f"{started} (a second signal ends the wait)", "drain.finished cut=3"]


async def test_a_drain_with_nothing_to_do_returns_at_once() -> None:
    async with supervising(Text("a"), STOP) as bench:
        await bench.done(await bench.create(REQUEST))
        await anyio.wait_all_tasks_blocked()
        began = anyio.current_time()
        await bench.drain(60)
        assert anyio.current_time() == began


@pytest.mark.promise("drain:no-loss")
async def test_a_stop_during_a_drain_is_a_stop() -> None:
    """Whoever asked for it is told that; the others, that the service went."""
    async with supervising(HOLD) as bench, anyio.create_task_group() as tasks:
        stopped, cut = await bench.create(REQUEST), await bench.create(REQUEST)
        tasks.start_soon(bench.drain, 5.0)
        await anyio.sleep(1)
        await bench.stop(stopped)
        assert (await bench.done(stopped)).outcome is Outcome.CLIENT_STOP
        assert (await bench.done(cut)).outcome is Outcome.DRAINED


@pytest.mark.promise("drain:no-loss")
@pytest.mark.promise("cancel:clean")
async def test_leaving_the_supervisor_ends_even_what_has_just_begun() -> None:
    provider = ScriptedProvider(Text("a"), HOLD)
    async with Bench({"fake": provider}) as bench:
        old = await bench.create(REQUEST)
        await anyio.wait_all_tasks_blocked()
        new = await bench.create(REQUEST)
    for generation in (old, new):
        assert (await bench.done(generation)).outcome is Outcome.DRAINED
    assert bench.running == 0
    assert provider.opened == provider.closed


@pytest.mark.promise("resume:never-regenerate")
async def test_a_key_returns_its_generation_while_that_is_kept() -> None:
    provider = ScriptedProvider(1.0, Text("a"), STOP)
    async with Bench({"fake": provider}) as bench:
        first = await bench.create(REQUEST, key="k")
        assert await bench.create(REQUEST, key="k") == first
        await bench.done(first)
        await anyio.wait_all_tasks_blocked()
        assert await bench.create(REQUEST, key="k") == first
        assert provider.opened == 1


async def test_without_a_key_or_with_another_each_request_is_its_own() -> None:
    async with supervising(HOLD) as bench:
        keys = [None, None, "", "", "a", "b"]
        assert len({await bench.create(REQUEST, key=key) for key in keys}) == 6


@pytest.mark.promise("resume:never-regenerate")
async def test_a_key_attaches_also_at_the_limit_and_during_a_drain() -> None:
    """It starts nothing, so nothing is in its way."""
    async with supervising(HOLD, room=1) as bench, anyio.create_task_group() as tasks:
        first = await bench.create(REQUEST, key="k")
        assert await bench.create(REQUEST, key="k") == first
        tasks.start_soon(bench.drain, 5.0)
        await anyio.wait_all_tasks_blocked()
        assert await bench.create(REQUEST, key="k") == first


@pytest.mark.promise("input:clear-error")
async def test_a_key_with_another_request_is_refused() -> None:
    """Down to the last parameter; and the first generation is not disturbed."""
    async with supervising(HOLD) as bench:
        first = await bench.create(REQUEST, key="k")
        others = [
            OTHER_REQUEST,
            GenerationRequest(prompt=PROMPT, provider="fake", grace_seconds=1),
            GenerationRequest(prompt=PROMPT, provider="fake", metadata={"a": "b"}),
        ]
        for order in others:
            with pytest.raises(InvalidField, match="used with another request") as caught:
                await bench.create(order, key="k")
            assert caught.value.field == "Idempotency-Key"
        assert bench.running == 1
        assert await bench.create(REQUEST, key="k") == first


async def test_a_key_is_free_when_its_generation_is_no_longer_kept() -> None:
    async with supervising(Text("a"), STOP) as bench:
        first = await bench.create(REQUEST, key="k")
        await anyio.sleep(KEEP + 1)
        assert await bench.create(OTHER_REQUEST, key="k") != first


async def test_a_key_is_free_again_also_while_an_older_one_is_not() -> None:
    """An answer that takes an hour does not hold the keys that came after its own."""
    providers = {"slow": ScriptedProvider(HOLD), "fake": ScriptedProvider(Text("a"), STOP)}
    async with Bench(providers) as bench, anyio.create_task_group() as tasks:
        tasks.start_soon(bench.log.sweep)
        slow = await bench.create(GenerationRequest(prompt=PROMPT, provider="slow"), key="older")
        with bench.viewer(slow):
            first = await bench.create(REQUEST, key="k")
            await anyio.sleep(KEEP + 1)
            assert await bench.create(OTHER_REQUEST, key="k") != first
        tasks.cancel_scope.cancel()


@pytest.mark.promise("cancel:clean")
async def test_keys_of_dropped_generations_are_forgotten_a_few_at_a_time() -> None:
    """Also behind a key that is still wanted, and never so many that one request has to wait."""
    providers = {"slow": ScriptedProvider(HOLD), "fake": ScriptedProvider(Text("a"), STOP)}
    async with Bench(providers, room=200) as bench, anyio.create_task_group() as tasks:
        tasks.start_soon(bench.log.sweep)
        slow = await bench.create(GenerationRequest(prompt=PROMPT, provider="slow"), key="slow")
        with bench.viewer(slow):
            for number in range(100):
                await bench.create(REQUEST, key=f"old{number}")
            assert bench.directory.keys == 101
            await anyio.sleep(KEEP + 1)
            for number in range(20):
                before = bench.directory.keys
                await bench.create(REQUEST, key=f"new{number}")
                assert before - bench.directory.keys < KEYS_AT_A_TIME
            assert bench.directory._keys.keys() == {
                "slow",
                *(f"new{number}" for number in range(20)),
            }
            assert (
                await bench.create(GenerationRequest(prompt=PROMPT, provider="slow"), key="slow")
                == slow
            )
        tasks.cancel_scope.cancel()


async def test_a_refused_request_leaves_its_key_free() -> None:
    async with supervising(HOLD, room=1) as bench:
        first = await bench.create(REQUEST)
        with pytest.raises(Overloaded):
            await bench.create(REQUEST, key="k")
        await bench.stop(first)
        await anyio.wait_all_tasks_blocked()
        await bench.create(OTHER_REQUEST, key="k")


@pytest.mark.promise("resume:never-regenerate")
async def test_the_same_key_twice_at_the_same_moment_is_one_generation() -> None:
    provider = ScriptedProvider(HOLD)
    async with Bench({"fake": provider}) as bench:
        ids: list[str] = []

        async def create() -> None:
            ids.append(await bench.create(REQUEST, key="k"))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(create)
        await anyio.wait_all_tasks_blocked()
        assert len(ids) == 5
        assert len(set(ids)) == provider.opened == 1


@pytest.mark.promise("cancel:clean")
async def test_after_any_number_of_aborts_nothing_is_left() -> None:
    provider = ScriptedProvider(Text("a"), HOLD)
    async with Bench({"fake": provider}, room=10_000) as bench, anyio.create_task_group() as tasks:
        tasks.start_soon(bench.log.sweep)
        for number in range(500):
            generation = await bench.create(REQUEST, key=str(number))
            with bench.viewer(generation):
                if number % 2:
                    await anyio.wait_all_tasks_blocked()
        await anyio.sleep(KEEP + 1)
        assert (bench.running, bench.viewers, len(bench.log)) == (0, 0, 0)
        assert provider.opened == provider.closed
        tasks.cancel_scope.cancel()


async def test_a_generation_that_the_log_refuses_leaves_nothing() -> None:
    """Neither a place among the running nor its key."""
    async with supervising(Text("a"), STOP) as bench:
        size, bench.log._size_bytes = bench.log._size_bytes, 10**12
        with pytest.raises(Overloaded):
            await bench.create(REQUEST, key="once")
        assert bench.running == 0
        bench.log._size_bytes = size
        await bench.create(REQUEST, key="once")
        assert len(bench.log) == 1


class FullLog(SlowLog):
    """A log that takes its time, and then has no room."""

    @override
    async def flush(self, generation: str) -> None:
        await anyio.sleep(1)
        raise Overloaded("generations.max_total_log_bytes")


@pytest.mark.promise("drain:no-loss")
async def test_a_drain_does_not_wait_for_a_generation_that_never_began() -> None:
    providers = {"fake": ScriptedProvider(Text("a"), STOP)}

    async def create(bench: Bench) -> None:
        with pytest.raises(Overloaded):
            await bench.create(REQUEST)

    async with Bench(providers, log=FullLog) as bench, anyio.create_task_group() as tasks:
        tasks.start_soon(create, bench)
        await anyio.wait_all_tasks_blocked()
        assert bench.running == 1
        began = anyio.current_time()
        await bench.drain(60)
        assert anyio.current_time() - began == pytest.approx(1, abs=0.001)


async def test_two_drains_at_once_both_end_when_the_work_is_done() -> None:
    async with supervising(Text("a"), 2.0, STOP) as bench:
        generation = await bench.create(REQUEST)
        began = anyio.current_time()
        with bench.viewer(generation):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(bench.drain, 100)
                tasks.start_soon(bench.drain, 100)
        assert anyio.current_time() - began < 10
