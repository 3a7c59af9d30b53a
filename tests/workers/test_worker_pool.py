"""The pool's decisions, with workers that are no processes and a clock that stands still."""

import logging
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from streamsvc.server.workers import pool as module
from streamsvc.server.workers.pool import WorkerPool
from streamsvc.server.workers.process import Phase, Worker

BOUNDS = (10.0, 3.0)
KILLED = -9


class Actor(Worker):
    def __init__(self, number: int, pid: int, since: float) -> None:
        self.number, self.pid, self.since = number, pid, since
        self.phase, self.signals = Phase.STARTING, 0
        self.bounds, self.kill_at = BOUNDS, float("inf")
        self.messages: list[str] = []
        self.is_killed = False

    @override
    def send(self, message: str) -> None:
        self.messages.append(message)

    @override
    def kill(self) -> None:
        self.is_killed = True


class Stage:
    """A pool, its workers and its clock."""

    def __init__(self, count: int = 2) -> None:
        self.now = 0.0
        self.spawned: list[Actor] = []
        self.alive: list[Actor] = []
        self.announced = 0
        self.error: OSError | None = None
        self.pool = WorkerPool(count, self._spawn, self._announce, lambda: self.now)
        self.pool.start()

    def _spawn(self, number: int) -> Worker:
        if self.error is not None:
            raise self.error
        worker = Actor(number, len(self.spawned) + 100, self.now)
        self.spawned.append(worker)
        self.alive.append(worker)
        return worker

    def _announce(self) -> None:
        self.announced += 1

    @property
    def numbers(self) -> list[int]:
        return [worker.number for worker in self.alive]

    def ready(self, *workers: Actor) -> None:
        for worker in workers:
            self.pool.on_ready(worker, BOUNDS)

    def exit(self, worker: Actor, code: int = 0) -> None:
        self.alive.remove(worker)
        self.pool.on_exit(worker, code)

    def exit_if_told(self, worker: Actor) -> None:
        if worker.messages:
            self.exit(worker)

    def break_or_mend(self) -> None:
        self.error = None if self.error else OSError(11, "no processes")

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.pool.tick()


@pytest.fixture
def stage(caplog: pytest.LogCaptureFixture) -> Iterator[Stage]:
    """Two workers that have served for a minute."""
    caplog.set_level(logging.INFO)
    made = Stage()
    made.ready(*made.alive)
    made.ready(made.alive[1])
    made.wait(60)
    caplog.clear()
    yield made
    assert made.announced == 1


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message.partition(" ")[0].rstrip(":") for message in caplog.messages]


def test_the_others_start_when_the_first_serves() -> None:
    stage = Stage(3)
    assert stage.numbers == [1]
    stage.ready(stage.alive[0])
    assert stage.numbers == [1, 2, 3]
    stage.ready(stage.alive[2])
    assert stage.announced == 0
    stage.ready(stage.alive[1])
    assert stage.announced == 1
    assert stage.pool.seconds_to_next() is None


def test_a_worker_that_dies_is_replaced_at_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.exit(stage.alive[0], KILLED)
    stage.wait(0)
    assert stage.numbers == [2, 1]
    stage.ready(stage.alive[1])
    assert caplog.messages == [
        "worker.died number=1 pid=100 signal=SIGKILL seconds=60.000",
        "worker.started number=1 pid=102 seconds=0.000",
    ]


def test_deaths_soon_after_the_start_make_the_pauses_grow(stage: Stage) -> None:
    pauses = []
    stage.exit(stage.alive[0], 1)
    stage.wait(0)
    for _ in range(8):
        stage.exit(stage.alive[-1], 1)
        pause = stage.pool.seconds_to_next()
        assert pause is not None
        pauses.append(pause)
        stage.wait(pause)
    assert pauses == [0.5, 1, 2, 4, 8, 15, 15, 15]
    stage.ready(stage.alive[-1])
    stage.wait(module.SOON_SECONDS)
    stage.exit(stage.alive[-1], 1)  # it has lived long enough
    assert stage.pool.seconds_to_next() == 0


def test_wrong_settings_at_the_start_end_the_service() -> None:
    stage = Stage(2)
    stage.exit(stage.alive[0], 2)
    assert stage.pool.exit_code == 2
    assert stage.alive == []


def test_wrong_settings_end_the_service_when_none_serves(stage: Stage) -> None:
    first, second = stage.alive
    stage.exit(first, KILLED)
    stage.exit(second, KILLED)
    stage.wait(0)
    other, broken = stage.alive
    stage.exit(broken, 2)
    assert other.is_killed
    stage.exit(other, KILLED)
    assert stage.pool.exit_code == 2


def test_wrong_settings_of_one_worker_are_tried_again_while_others_serve(stage: Stage) -> None:
    stage.exit(stage.alive[0], KILLED)
    stage.wait(0)
    stage.exit(stage.alive[1], 2)
    stage.wait(0.5)
    assert stage.numbers == [2, 1]
    assert stage.pool.exit_code is None


def test_a_restart_replaces_one_worker_after_the_other(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = stage.alive
    stage.pool.restart()
    assert stage.numbers == [1, 2, 1]
    new_first = stage.alive[2]
    assert first.messages == []
    stage.ready(new_first)
    assert first.messages == ["retire"]
    assert stage.numbers == [1, 2, 1]
    stage.exit(first)
    assert stage.numbers == [2, 1, 2]
    stage.ready(stage.alive[2])
    assert second.messages == ["retire"]
    stage.exit(second)
    assert stage.numbers == [1, 2]
    assert (lines(caplog)[0], lines(caplog)[-1]) == ("restart.started", "restart.finished")
    assert lines(caplog).count("worker.left") == 2


def test_if_a_replacement_dies_all_old_workers_stay(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    old = [*stage.alive]
    stage.pool.restart()
    stage.exit(stage.alive[2], 2)
    stage.wait(1000)
    assert stage.alive == old
    assert [worker.messages for worker in old] == [[], []]
    assert lines(caplog) == ["restart.started", "worker.died", "restart.failed"]


def test_if_a_replacement_cannot_be_started_the_old_ones_stay(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.error = OSError(11, "no processes")
    stage.pool.restart()
    assert lines(caplog) == ["restart.started", "worker.not_started", "restart.failed"]
    stage.wait(1000)
    assert stage.numbers == [1, 2]


def test_a_replacement_that_does_not_start_in_time_is_killed(stage: Stage) -> None:
    stage.pool.restart()
    new = stage.alive[2]
    killed = []
    for seconds in (module.START_SECONDS - 1, 1):
        stage.wait(seconds)
        killed.append(new.is_killed)
    assert killed == [False, True]
    stage.exit(new, KILLED)
    assert stage.numbers == [1, 2]


def test_a_worker_that_cannot_be_started_is_tried_again(stage: Stage) -> None:
    stage.error = OSError(11, "no processes")
    stage.exit(stage.alive[0], KILLED)
    stage.wait(0)
    stage.wait(0.5)
    stage.error = None
    stage.wait(1)
    assert stage.numbers == [2, 1]


def test_an_old_worker_that_dies_has_its_replacement_already(stage: Stage) -> None:
    stage.pool.restart()
    stage.exit(stage.alive[0], KILLED)
    stage.wait(1000)
    assert stage.numbers == [2, 1]
    stage.ready(stage.alive[1])
    assert stage.numbers == [2, 1, 2]


def test_a_second_restart_replaces_the_new_workers_again(stage: Stage) -> None:
    """They may have read the settings before they were changed."""
    first, second = stage.alive
    stage.pool.restart()
    new = stage.alive[2]
    stage.pool.restart()
    stage.ready(new)
    stage.exit(first)
    stage.ready(stage.alive[2])
    stage.exit(second)
    assert stage.numbers == [1, 2, 1]
    stage.ready(stage.alive[2])
    assert new.messages == ["retire"]
    stage.exit(new)
    assert stage.numbers == [2, 1]


def test_a_worker_that_wants_to_leave_is_replaced_first(stage: Stage) -> None:
    old = stage.alive[1]
    stage.pool.on_leave(old)
    stage.pool.on_leave(old)
    assert stage.numbers == [1, 2, 2]
    stage.ready(stage.alive[2])
    assert old.messages == ["retire"]
    stage.exit(old)
    assert stage.numbers == [1, 2]


def test_each_signal_reaches_each_worker_once(stage: Stage) -> None:
    for count in (1, 2, 3, 3):
        stage.pool.stop()
        assert [worker.messages for worker in stage.alive] == [["signal"] * count] * 2
    stage.pool.restart()
    stage.pool.on_leave(stage.alive[0])
    assert len(stage.spawned) == 2
    for worker in [*stage.alive]:
        assert stage.pool.exit_code is None
        stage.exit(worker)
    assert stage.pool.exit_code == 0


def test_a_signal_during_a_restart_reaches_old_and_new_workers(stage: Stage) -> None:
    first, second = stage.alive
    stage.pool.restart()
    new = stage.alive[2]
    stage.ready(new)
    stage.pool.stop()
    assert first.messages == ["retire"]  # it has begun to drain already
    assert (second.messages, new.messages) == (["signal"], ["signal"])
    stage.pool.stop()
    assert first.messages == ["retire", "signal"]
    for worker in [*stage.alive]:
        stage.exit(worker)
    assert stage.pool.exit_code == 0


def test_a_worker_that_becomes_ready_after_the_signal_leaves() -> None:
    stage = Stage(2)
    [worker] = stage.alive
    stage.pool.stop()
    assert worker.messages == ["signal"]
    stage.ready(worker)
    assert stage.numbers == [1]
    stage.exit(worker, -15)
    assert (stage.pool.exit_code, stage.announced) == (0, 0)


def test_a_signal_while_no_worker_lives_ends_the_service() -> None:
    stage = Stage(2)
    stage.exit(stage.alive[0], 1)
    stage.pool.stop()
    assert stage.pool.exit_code == 0
    assert stage.pool.seconds_to_next() is None


@pytest.mark.parametrize(("signals", "seconds"), [(1, 23), (2, 13), (3, 10)])
def test_a_worker_that_does_not_leave_in_time_is_killed(
    stage: Stage, signals: int, seconds: float
) -> None:
    for _ in range(signals):
        stage.pool.stop()
    assert stage.pool.seconds_to_next() == seconds
    stage.wait(seconds)
    assert all(worker.is_killed for worker in stage.alive)
    assert stage.pool.seconds_to_next() is None


def test_a_silent_worker_is_killed(stage: Stage) -> None:
    stage.pool.on_silent(stage.alive[0])
    assert stage.pool.seconds_to_next() == module.MARGIN_SECONDS


def test_an_unknown_signal_is_a_number(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.exit(stage.alive[0], -99)
    assert "signal=99" in caplog.text


EVENTS: dict[str, Callable[[Stage, Actor, int], object]] = {
    "ready": lambda stage, worker, _: stage.ready(worker),
    "die": lambda stage, worker, _: stage.exit(worker, KILLED),
    "leave": lambda stage, worker, _: stage.pool.on_leave(worker),
    "exit": lambda stage, worker, _: stage.exit_if_told(worker),
    "restart": lambda stage, _, __: stage.pool.restart(),
    "wait": lambda stage, _, number: stage.wait(number * 5),
    "break": lambda stage, _, __: stage.break_or_mend(),
}


@given(st.lists(st.tuples(st.sampled_from([*EVENTS]), st.integers(0, 5)), max_size=60))
def test_after_any_events_the_pool_serves_again(events: list[tuple[str, int]]) -> None:
    """When workers start and leave as they should, one of each number serves."""
    stage = Stage(2)
    for event, number in events:
        if not stage.alive:
            stage.wait(module.LONGEST_PAUSE_SECONDS)
        if stage.alive:
            EVENTS[event](stage, stage.alive[number % len(stage.alive)], number)
        else:
            stage.error = None
    stage.error = None
    for _ in range(100):
        stage.wait(module.LONGEST_PAUSE_SECONDS)
        for worker in [*stage.alive]:
            if worker.is_killed or worker.messages:
                stage.exit(worker)
            else:
                stage.ready(worker)
    assert sorted(stage.numbers) == [1, 2]
    assert all(worker.phase is Phase.SERVING for worker in stage.alive)
    stage.pool.stop()
    for worker in [*stage.alive]:
        stage.exit(worker)
    assert stage.pool.exit_code == 0
