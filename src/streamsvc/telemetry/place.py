"""Where the workers of a service find each other: Unix sockets in a directory that the supervisor makes for its user.

A socket is named `NUMBER.START`: the number of the worker, and how many workers had been started before it. While a
worker is replaced, both processes have the same number; the older one is then called by the whole name.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

ADDRESS_BYTES = 100
"""How long a path may be as the address of a socket, on every system."""


def make_directory() -> str:
    """Make the directory of the sockets, which only this user may enter.

    Raises:
        OSError: there is no place for it.
    """
    return tempfile.mkdtemp(prefix="streamsvc-")  # mode 0700


class Peer(NamedTuple):
    """A worker of the service.

    Attributes:
        name: what distinguishes it from the others that run now; most often its number.
        socket: where it answers; None: it does not run, or it is this one.
        is_own: whether it is this one.
    """

    name: str
    socket: Path | None
    is_own: bool


class Place(NamedTuple):
    """Where the workers of a service find each other.

    Attributes:
        directory: of their sockets; "": there is only this one, or they cannot find each other.
        number: of this worker, from 1.
        start: how many workers had been started before it.
        workers: how many serve at a time.
    """

    directory: str = ""
    number: int = 1
    start: int = 0
    workers: int = 1

    @property
    def socket(self) -> Path:
        """The socket of this worker."""
        return socket_of(self.directory, self.number, self.start)

    def remove(self) -> None:
        """Remove the socket of a worker that has ended."""
        if self.directory:
            self.socket.unlink(missing_ok=True)

    def remove_directory(self) -> None:
        """Remove the directory, unless other workers still have sockets in it."""
        if self.directory:
            with suppress(OSError):
                Path(self.directory).rmdir()

    def peers(self) -> Sequence[Peer]:
        """Return all workers, this one too; also those that should run and do not."""
        starts: dict[int, set[int]] = {number: set() for number in range(1, self.workers + 1)}
        starts.setdefault(self.number, set()).add(self.start)
        for path in Path(self.directory).iterdir() if self.directory else ():
            number, _, start = path.name.partition(".")
            if number.isdigit() and start.isdigit():
                starts.setdefault(int(number), set()).add(int(start))
        return [
            peer for number, found in sorted(starts.items()) for peer in self._of(number, found)
        ]

    def _of(self, number: int, starts: set[int]) -> Sequence[Peer]:
        if not starts:
            return [Peer(str(number), None, is_own=False)]
        newest = max(starts)
        found = []
        for start in sorted(starts, reverse=True):
            is_own = (number, start) == (self.number, self.start)
            name = str(number) if start == newest else f"{number}.{start}"
            socket = None if is_own else socket_of(self.directory, number, start)
            found.append(Peer(name, socket, is_own))
        return found


ALONE = Place()
"""The place of a process that has no others beside it."""


@contextmanager
def addressable(socket: Path) -> Iterator[Path]:
    """Return a context with a path to a socket that fits into an address, however deep its directory is.

    On Linux, an address has room for 107 bytes (unix(7)), and the directory may be named by a descriptor.
    """
    if len(os.fsencode(socket)) <= ADDRESS_BYTES:
        yield socket
        return
    directory = os.open(socket.parent, os.O_RDONLY)
    try:
        yield Path(f"/proc/self/fd/{directory}", socket.name)
    finally:
        os.close(directory)


def socket_of(directory: str, number: int, start: int) -> Path:
    """Return the socket of a worker."""
    return Path(directory) / f"{number}.{start}"
