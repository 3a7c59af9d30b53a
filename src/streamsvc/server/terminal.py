"""The terminal that the process was started from, and whether it has hung up.

SIGHUP has two meanings: an operator or a service manager asks for a reload, or the kernel says that the terminal is
gone (termios(3)). In the second case, the process loses its controlling terminal before it gets the signal (Linux,
`__tty_hangup`), so opening `/dev/tty` shows which of the two it is.
"""

import errno
import os

_PATH = "/dev/tty"
_GONE = frozenset({errno.ENXIO, errno.EIO})


class Terminal:
    """The controlling terminal of this process, if it has one at the start."""

    def __init__(self) -> None:
        self._was_there = _error() == 0

    @property
    def has_hung_up(self) -> bool:
        """Whether there was a terminal, and it is gone."""
        return self._was_there and _error() in _GONE


def _error() -> int:
    """Return why the terminal cannot be opened; 0 if it can."""
    try:
        descriptor = os.open(_PATH, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as exc:
        return exc.errno or errno.EIO
    os.close(descriptor)
    return 0
