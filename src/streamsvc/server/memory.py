"""Memory: when the garbage collector runs, and when freed memory is returned to the system.

The only module that touches the collector and the C library's allocator.
"""

import ctypes
import gc
from collections.abc import Callable

_THRESHOLDS = 20_000, 10, 10
"""The collector's thresholds (CPython's defaults: 700, 10, 10).

What a token allocates is freed by reference counting, so a collection between tokens finds nothing and only
delays them. What an ended stream leaves behind may contain cycles, and waits for the next collection. Seen with CPython 3.11.
"""

_PEAK, _SHARE_LEFT = 64, 1 / 16
"""Memory is released after a peak of at least `_PEAK` connections, once at most `_SHARE_LEFT` of them are left."""

_QUIET_SECONDS = 3
"""How long their number must stay low: clients that reconnect do so within seconds."""


def freeze() -> None:
    """Exclude everything allocated so far from garbage collection, and collect less often from now on.

    Call it once, when the application has started. Without it, a full collection visits every object of the
    SDKs' modules: 0.1 s in which no token is sent (openai and google-genai imported, CPython 3.11).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def release() -> None:
    """Free garbage cycles, and return free memory to the system.

    Without the collection, the cycles of ended streams stay until enough new objects are allocated; without
    malloc_trim(3), glibc keeps the freed pages, and the process stays as large as at its peak. Other C libraries
    do not have that function; there only the cycles are freed.
    """
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


class PeakWatch:
    """Calls *release* when most connections of a peak have closed.

    Args:
        release: frees memory; may take a few milliseconds.
    """

    def __init__(self, release: Callable[[], None] = release) -> None:
        self._release = release
        self._peak = self._quiet_seconds = 0

    def observe(self, connections: int) -> None:
        """Take the number of open connections; call it once a second."""
        self._peak = max(self._peak, connections)
        is_over = self._peak >= _PEAK and connections <= self._peak * _SHARE_LEFT
        self._quiet_seconds = self._quiet_seconds + 1 if is_over else 0
        if self._quiet_seconds == _QUIET_SECONDS:
            self._peak, self._quiet_seconds = connections, 0
            self._release()
