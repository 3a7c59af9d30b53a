"""File descriptors: how many this process may open, and the first three, which must be open."""

import logging
import os
import sys

if sys.platform != "win32":
    import resource

from streamsvc.log_line import log

logger = logging.getLogger(__name__)

_MOST = 1_048_576
"""The limit to set if the hard limit is infinite."""

_OWN = 64
"""Reserved for the event loop, the log, name look-ups and what libraries open."""


def keep_standard_streams() -> None:
    """Open the null device for each standard stream that was closed when the process started.

    Otherwise the first descriptors that the event loop opens get the numbers 0 to 2, and libuv aborts the process
    when it closes one of them (libuv 1.52).
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004  # standard error
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def highest_limit() -> int:
    """Return the limit that `raise_limit` sets, if it may."""
    if sys.platform == "win32":
        return _MOST
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _MOST if hard == resource.RLIM_INFINITY else hard


def raise_limit() -> int:
    """Raise the soft limit of open descriptors to the hard limit; return the limit."""
    wanted = highest_limit()
    if sys.platform == "win32":
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return soft
        log(logger, logging.INFO, "descriptors.raised", **{"from": soft, "to": wanted})
    return wanted


def room_for_connections(descriptors: int, upstream: int) -> int:
    """Return how many clients may be connected.

    Args:
        descriptors: the limit of open descriptors.
        upstream: how many calls to providers may run; up to half of the descriptors are reserved for them.
    """
    rest = descriptors - min(_OWN, descriptors // 4)
    return max(1, rest - min(upstream, rest // 2))


def needed_for(connections: int, upstream: int) -> int:
    """Return the smallest limit of open descriptors, or one slightly above it, with room for connections and calls."""
    return connections + min(upstream, connections) + _OWN
