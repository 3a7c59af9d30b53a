"""One worker, as the supervisor sees it: a process, and the channel to it."""

import enum
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from typing_extensions import override

from streamsvc.server.workers.channel import Channel
from streamsvc.server.workers.inheritance import Inheritance


class Phase(enum.Enum):
    """The phases of a worker's life; its process can end in each of them, in LEAVING as expected.

    | phase    | next    | when                                        |
    | -------- | ------- | ------------------------------------------- |
    | STARTING | SERVING | it says that it accepts connections         |
    | STARTING | LEAVING | the service ends                            |
    | SERVING  | LEAVING | the service ends, or its replacement serves |
    """

    STARTING = enum.auto()
    SERVING = enum.auto()
    LEAVING = enum.auto()


class Worker(Protocol):
    """A worker, for the pool that manages it.

    Attributes:
        number: its place among the workers, from 1; its replacement has the same.
        pid: of its process.
        since: when it was started, by the pool's clock.
        phase: the phase of its life.
        signals: how many signals it was sent (`lifecycle`); being retired counts as one.
        bounds: how long its drain, and then closing, may take, in seconds.
        kill_at: when it is killed.
    """

    number: int
    pid: int
    since: float
    phase: Phase
    signals: int
    bounds: tuple[float, float]
    kill_at: float

    def send(self, message: str) -> None:
        """Send it a message (`channel`)."""
        ...

    def kill(self) -> None:
        """Send SIGKILL to its process."""
        ...


class WorkerProcess(Worker):
    """A worker's process, which starts now.

    Args:
        command: program and arguments.
        environ: its environment.
        inheritance: what it inherits, apart from the channel, which is new.
        since: the time now, by the pool's clock.
        bounds: as in `Worker`, until it states its own.

    Raises:
        OSError: no process can be started.

    Attributes:
        seat: its count in the shared memory.
        place: where the others ask it.
        channel: the supervisor's end.
    """

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        inheritance: Inheritance,
        *,
        since: float,
        bounds: tuple[float, float],
    ) -> None:
        ours, theirs = socket.socketpair()
        inheritance = msgspec.structs.replace(inheritance, channel=theirs.fileno())
        with theirs:
            try:
                # In a session of its own, so that Ctrl-C in a terminal reaches only the supervisor.
                self._process = subprocess.Popen(  # noqa: S603  # the command line of this process
                    command,
                    env={**environ, **inheritance.variable()},
                    pass_fds=inheritance.descriptors,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        self.channel, self.seat = Channel(ours), inheritance.seat
        self.place = inheritance.place
        self.number, self.pid = inheritance.number, self._process.pid
        self.since, self.bounds = since, bounds
        self.phase, self.signals, self.kill_at = Phase.STARTING, 0, float("inf")

    @override
    def send(self, message: str) -> None:
        self.channel.send(message)

    @override
    def kill(self) -> None:
        self._process.kill()

    def poll(self) -> int | None:
        """Return the exit code, or the negative number of the signal that ended it; None while it runs."""
        return self._process.poll()
