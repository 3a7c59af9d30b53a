"""The effect of open circuits on answers: which provider is called, which call probes, and the recovery."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import pytest
from typing_extensions import override

from streamsvc.engine.circuit import State
from streamsvc.events import Status, Text
from streamsvc.provider_errors import ProviderRefused, ProviderUnavailable
from support.answers import REQUEST, WELL, Bench, completed, retrying, supervising, switching
from support.doubles import HOLD, ScriptedProvider, Step, Takes, events_of, virtual_backends

anyio_backend = virtual_backends()


@pytest.mark.promise("upstream:rescue")
async def test_while_a_circuit_is_open_the_fallback_serves_at_once() -> None:
    first, second = ScriptedProvider(ProviderUnavailable()), ScriptedProvider(*WELL)
    async with supervising(first, second, circuit_failures=3) as bench:
        await bench.answer()
        began = anyio.current_time()
        for _ in range(10):
            assert await bench.answer() == [
                switching("circuit_open"),
                Text("well"),
                completed("second"),
            ]
        assert anyio.current_time() == pytest.approx(began, abs=0.01)
        assert first.opened == 3


@pytest.mark.promise("upstream:rescue")
async def test_after_the_failure_that_opens_the_circuit_nothing_waits() -> None:
    first, second = ScriptedProvider(ProviderUnavailable()), ScriptedProvider(*WELL)
    async with supervising(first, second, circuit_failures=2) as bench:
        assert await bench.answer() == [
            retrying(),
            switching(),
            Text("well"),
            completed("second"),
        ]


@pytest.mark.promise("upstream:rescue")
async def test_a_waiting_retry_falls_back_if_the_circuit_opens() -> None:
    first, second = ScriptedProvider(ProviderUnavailable()), ScriptedProvider(*WELL)
    async with supervising(first, second, circuit_failures=4, attempts=2) as bench:
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(bench.answer)
        assert bench.circuit_of("first") is State.OPEN
        assert first.opened == 10
        assert second.opened == 10


@pytest.mark.promise("upstream:rescue")
async def test_with_all_circuits_open_the_requested_entry_is_called() -> None:
    first = Takes([ProviderUnavailable()], WELL)
    second = ScriptedProvider(ProviderUnavailable())
    async with supervising(first, second, circuit_failures=1, attempts=1) as bench:
        assert (await bench.done()).status is Status.FAILED
        assert {bench.circuit_of("first"), bench.circuit_of("second")} == {State.OPEN}
        assert await bench.answer() == [Text("well"), completed("first")]
        assert bench.circuit_of("first") is State.CLOSED


async def test_an_entry_without_fallbacks_is_called_despite_its_circuit() -> None:
    async with supervising(ScriptedProvider(ProviderUnavailable()), circuit_failures=1) as bench:
        for _ in range(5):
            await bench.answer()
        assert bench.calls == (15,)


@pytest.mark.promise("upstream:rescue")
async def test_when_the_pause_is_over_one_of_many_probes() -> None:
    """This includes answers for which the entry is a fallback; their viewers see a `status` first."""
    first = ScriptedProvider(ProviderRefused())
    second = Takes([ProviderUnavailable()], [5.0, ProviderUnavailable()])
    async with supervising(
        first, second, ScriptedProvider(*WELL), circuit_failures=1, circuit_seconds=15.0
    ) as bench:
        await bench.answer()
        await anyio.sleep(15)
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(bench.answer)
        assert second.opened == 2


@pytest.mark.promise("cancel:disconnect")
async def test_a_probe_whose_viewer_leaves_lets_the_next_one_probe() -> None:
    first = Takes([ProviderUnavailable()], [HOLD], WELL)
    async with supervising(
        first, ScriptedProvider(*WELL), circuit_failures=1, circuit_seconds=15.0
    ) as bench:
        await bench.answer()
        await anyio.sleep(15)
        generation = await bench.create(REQUEST)
        with bench.viewer(generation):
            await anyio.sleep(1)
            assert await bench.done() == completed("second")
        await events_of(bench.log, generation)
        assert await bench.done() == completed("first")


class Flapping(ScriptedProvider):
    """Fails for a while, and is healthy before and after.

    Args:
        down: begin and end of the outage, on the event loop's clock.
        outage: its script during the outage.
    """

    def __init__(self, down: tuple[float, float], outage: Sequence[Step]) -> None:
        super().__init__()
        self._down = down
        self._outage = outage

    @property
    def is_down(self) -> bool:
        """Whether the outage lasts."""
        begin, end = self._down
        return begin <= anyio.current_time() < end

    @override
    def script_of(self, call: int) -> Sequence[Step]:
        return self._outage if self.is_down else WELL


@dataclass
class Crowd:
    """Clients that ask a service, one after another.

    Attributes:
        answered: the time of each request, and the provider that answered it.
    """

    bench: Bench
    answered: list[tuple[float, str]] = field(default_factory=list)

    async def ask(self) -> None:
        """Ask once."""
        began = anyio.current_time()
        done = await self.bench.done()
        assert done.status is Status.COMPLETED
        self.answered.append((began, done.provider))

    async def keep_asking(self, *, until: float, every: float) -> None:
        """Start a request at a steady pace, without waiting for the answers."""
        async with anyio.create_task_group() as tasks:
            while anyio.current_time() < until:
                tasks.start_soon(self.ask)
                await anyio.sleep(every)


CIRCUIT = 15.0

DOWN, UP = 10.0, 70.0


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize(
    ("outage", "seconds", "let_through"),
    [([ProviderUnavailable()], 0.0, 1), ([HOLD], 10.0, 1), ([0.5, Text("wel"), 0.5], 1.0, 4)],
    ids=["refuses", "is silent", "breaks off"],
)
async def test_a_primary_is_skipped_while_down_and_used_again_soon_after(
    outage: Sequence[Step], seconds: float, let_through: int
) -> None:
    """The load is five requests a second, and each is answered.

    *seconds* is the time that a failure takes. If it comes after the first token, a few more calls get through
    before it.
    """
    zero = anyio.current_time()
    first = Flapping((zero + DOWN, zero + UP), outage)
    async with supervising(
        first, ScriptedProvider(0.1, *WELL), first_token_seconds=10.0, circuit_seconds=CIRCUIT
    ) as bench:
        crowd = Crowd(bench)
        await crowd.keep_asking(until=zero + 120, every=0.2)
    assert len(crowd.answered) == 600
    opened = DOWN + seconds + 5 * 0.2
    asked = [at - zero for at in first.asked_at]
    probes = [at for at in asked if opened <= at < UP]
    for at in probes:
        assert sum(at <= other < at + CIRCUIT - 0.001 for other in probes) <= let_through
    used_again = min(at for at in asked if at >= UP)
    assert used_again <= UP + CIRCUIT + seconds + 0.2
    answered = [(at - zero, who) for at, who in crowd.answered]
    assert {who for at, who in answered if not DOWN - 0.5 < at < used_again} == {"first"}
    assert {who for at, who in answered if opened < at < UP - 0.5} == {"second"}
