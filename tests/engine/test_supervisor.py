"""The supervisor starts generations, counts their viewers, and refuses what is beyond its limits."""

import re

import anyio
import pytest

from streamsvc.config.provider_settings import OpenAISettings
from streamsvc.config.settings import Settings
from streamsvc.engine.admission import Unlimited
from streamsvc.engine.directory.memory import MemoryDirectory
from streamsvc.engine.ids import new_id
from streamsvc.engine.supervisor import Supervisor
from streamsvc.errors import InvalidField, Overloaded, ProviderNotReady
from streamsvc.events import Done, Outcome, Status, Text
from streamsvc.messages import GenerationRequest
from streamsvc.principals import ANONYMOUS
from streamsvc.providers.registry import ProviderRegistry
from support.doubles import HOLD, PROMPT, ScriptedProvider, SlowLog, virtual_backends
from support.logged import logged
from support.supervisors import KEEP, REQUEST, STOP, Bench, supervising

anyio_backend = virtual_backends()


def test_ids_are_unguessable_and_need_no_quoting() -> None:
    """160 random bits as letters and digits keep a cursor short, and fit every wire format."""
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"gen_[a-z2-7]{32}", one) for one in ids)


async def test_a_new_generation_is_readable_and_runs_to_its_end() -> None:
    async with supervising(1.0, Text("a"), STOP) as bench:
        generation = await bench.create(REQUEST)
        assert len(await bench.log.read(generation, after=-1)) == 1
        assert bench.running == 1
        assert (await bench.done(generation)).status is Status.COMPLETED
        await anyio.wait_all_tasks_blocked()
        assert bench.running == 0


@pytest.mark.promise("fan-out:shared")
async def test_all_viewers_share_one_call_to_the_provider() -> None:
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
async def test_the_generation_stops_when_its_last_viewer_leaves() -> None:
    async with supervising(HOLD) as bench:
        generation = await bench.create(REQUEST)
        with bench.viewer(generation), bench.viewer(generation):
            await anyio.sleep(1)
            assert bench.running == 1
        left_at = anyio.current_time()
        assert (await bench.done(generation)).outcome is Outcome.NO_VIEWERS
        assert anyio.current_time() == pytest.approx(left_at, abs=0.001)


async def test_a_viewer_of_an_ended_generation_is_only_counted() -> None:
    async with supervising(Text("a"), STOP) as bench:
        generation = await bench.create(REQUEST)
        first = await bench.done(generation)
        await anyio.wait_all_tasks_blocked()
        with bench.viewer(generation):
            assert bench.viewers == 1
        assert bench.viewers == 0
        assert await bench.done(generation) == first


@pytest.mark.promise("input:clear-error")
async def test_a_viewer_beyond_the_limit_is_refused() -> None:
    async with supervising(HOLD) as bench:
        generation = await bench.create(REQUEST)
        with bench.viewer(generation), bench.viewer(generation):
            with bench.viewer(generation), pytest.raises(Overloaded):
                async with bench.viewer_place(ANONYMOUS):
                    pass
            async with bench.viewer_place(ANONYMOUS):
                pass


@pytest.mark.promise("input:clear-error")
async def test_a_place_that_is_kept_for_a_viewer_counts() -> None:
    async with supervising(HOLD) as bench:
        generation = await bench.create(REQUEST)
        with bench.viewer(generation), bench.viewer(generation):
            async with bench.viewer_place(ANONYMOUS):
                with pytest.raises(Overloaded):
                    async with bench.viewer_place(ANONYMOUS):
                        pass
                assert bench.viewers == 3
        assert bench.viewers == 0


@pytest.mark.promise("end:exactly-one")
async def test_a_crashing_generation_does_not_affect_others() -> None:
    crashing = ScriptedProvider(1.0, RuntimeError("x"))
    async with Bench({"a": crashing, "b": ScriptedProvider(2.0, Text("a"), STOP)}) as bench:
        bad = await bench.create(GenerationRequest(prompt=PROMPT, provider="a"))
        good = await bench.create(GenerationRequest(prompt=PROMPT, provider="b"))
        assert (await bench.done(bad)).outcome is Outcome.INTERNAL_ERROR
        assert (await bench.done(good)).outcome is Outcome.COMPLETED


@pytest.mark.promise("input:clear-error")
async def test_an_unknown_provider_is_refused_with_the_known_names() -> None:
    async with Bench({"b": ScriptedProvider(), "a": ScriptedProvider()}) as bench:
        with pytest.raises(InvalidField, match=r"configured: a, b\.") as caught:
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
        providers=registry,
        log=log,
        directory=directory,
        limiter=Unlimited(),
        settings=settings,
        hooks=logged(),
    ) as supervisor:
        with pytest.raises(ProviderNotReady, match="its key is not set"):
            await supervisor.create(REQUEST)
        assert len(log) == 0


@pytest.mark.promise("input:clear-error")
async def test_a_generation_beyond_the_limit_is_refused_until_one_ends() -> None:
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
async def test_each_entry_has_its_own_limit() -> None:
    providers = {"a": ScriptedProvider(HOLD), "b": ScriptedProvider(HOLD)}
    async with Bench(providers, entry_room=1) as bench:
        await bench.create(GenerationRequest(prompt=PROMPT, provider="a"))
        with pytest.raises(Overloaded):
            await bench.create(GenerationRequest(prompt=PROMPT, provider="a"))
        await bench.create(GenerationRequest(prompt=PROMPT, provider="b"))


@pytest.mark.promise("cancel:clean")
async def test_500_aborts_leave_nothing_behind() -> None:
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


async def test_a_generation_refused_by_the_log_leaves_nothing_behind() -> None:
    """It does not count as running, and its key is free."""
    async with supervising(Text("a"), STOP) as bench:
        size, bench.log._size_bytes = bench.log._size_bytes, 10**12
        with pytest.raises(Overloaded):
            await bench.create(REQUEST, key="once")
        assert bench.running == 0
        bench.log._size_bytes = size
        await bench.create(REQUEST, key="once")
        assert len(bench.log) == 1
