"""The channel between the supervisor and a worker: a socket pair that carries one short message per line.

| from       | message          | meaning                                                                |
| ---------- | ---------------- | ---------------------------------------------------------------------- |
| worker     | `ready D C`      | it accepts connections; a drain may take D seconds, closing C seconds  |
| worker     | `leave`          | it received a signal to end; the supervisor decides what follows       |
| supervisor | `signal`         | the service ends: count this like a signal (`lifecycle`)               |
| supervisor | `retire`         | the others stay: accept no more connections, then drain                |
| supervisor | `reload`         | read the settings again                                                |
| supervisor | the end          | the supervisor has died: as `retire`                                   |

Messages and not signals, because equal signals that are pending merge into one, and because a signal that arrives
before Python handles it ends a process that is starting. And a signal may come from elsewhere: systemd sends SIGTERM
to each process of a service, and the worker must not count it in addition to the supervisor's.
"""

import socket
from collections.abc import Iterable
from contextlib import suppress

_READ_BYTES = 4096


class Channel:
    """One end. Reading and writing never wait.

    Args:
        end: is closed together with this object.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._rest = b""

    @property
    def descriptor(self) -> int:
        """The descriptor, which becomes readable when there are messages."""
        return self._socket.fileno()

    @property
    def is_closed(self) -> bool:
        """Whether this end has been closed."""
        return self._socket.fileno() < 0

    def send(self, *words: object) -> None:
        """Send a message; it is lost if the other process has ended."""
        with suppress(OSError):
            self._socket.send(f"{' '.join(map(str, words))}\n".encode())

    def receive(self) -> Iterable[list[str]] | None:
        """Return the messages that have arrived, each as a list of words; None if the other process has ended."""
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return ()
        except OSError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode().split() for line in lines]

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
