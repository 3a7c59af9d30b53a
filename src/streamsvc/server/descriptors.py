"""File descriptors: how many this process may have, and the first three, which have to be there."""

import logging
import os
import sys

if sys.platform != "win32":
    import resource

logger = logging.getLogger(__name__)

_MOST = 1_048_576
"""What is asked for where the hard limit is infinite."""

_OWN = 64
"""For the event loop, the log, name look-ups and what libraries open."""


def keep_standard_streams() -> None:
    """Open the null device for each standard stream that the process was started without.

    Else the first descriptors that the event loop opens get their numbers, and libuv aborts the process
    when it closes one of them.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004  # standard error
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def raise_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one; return how many may be open."""
    if sys.platform == "win32":
        return _MOST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return soft
        logger.info("descriptors.raised from=%d to=%d", soft, wanted)
    return wanted


def room_for_connections(descriptors: int, upstream: int) -> int:
    """Return how many clients may be connected.

    Args:
        descriptors: how many may be open.
        upstream: how many calls to providers run at most; up to half of the descriptors are for them.
    """
    rest = descriptors - min(_OWN, descriptors // 4)
    return max(1, rest - min(upstream, rest // 2))
