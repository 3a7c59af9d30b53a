"""Memory: when the garbage collector runs, and when freed memory is returned to the system.

The only module that touches the collector and the C library's allocator.
"""

import asyncio
import ctypes
import gc
import sys
from collections.abc import Callable

_THRESHOLDS = 50_000, 5, 10
"""The collector's thresholds (CPython's defaults: 700, 10, 10).

What a token allocates is freed by reference counting, so a collection between tokens finds nothing and only
delays them. What an ended stream leaves behind may contain cycles, and waits for the next collection. Seen with CPython 3.11.

An open stream has 200 objects that the collector visits, so the first threshold lets 250 streams open between two
collections: at 20,000, each burst of a hundred paid for one, 4 ms in which nothing is sent.
"""

_PEAK, _SHARE_LEFT = 64, 1 / 16
"""Memory is released after a peak of at least `_PEAK` connections, once at most `_SHARE_LEFT` of them are left."""

_QUIET_SECONDS = 3
"""How long their number must stay low: clients that reconnect do so within seconds."""


_KEPT = 256
"""At least as many objects of a type as uvloop (250) and asyncio (255) keep to reuse their memory. Seen with uvloop 0.23
and CPython 3.11."""

_SOON_SECONDS = 0.01
"""When callbacks that were scheduled now have run."""


def freeze() -> None:
    """Exclude everything allocated so far from garbage collection, and collect less often from now on.

    Call it once, when the application has started. Without it, a full collection visits every object of the
    SDKs' modules: 0.1 s in which no token is sent (openai and google-genai imported, CPython 3.11).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def release() -> None:
    """Free garbage cycles, and return free memory to the system. Call it in the running event loop.

    Without the collection, the cycles of ended streams stay until enough new objects are allocated. Python returns an
    arena, 1 MiB, only when nothing in it is used, so a few objects that outlive the streams would keep nearly all of it.
    """
    gc.collect()
    _forget_names()
    _replace_kept_objects(asyncio.get_running_loop())


def _forget_names() -> None:
    """Clear the cache of types' attributes, which keeps the names that were looked up.

    Some C code makes a string for each lookup: `result` when a task awaits a future that is not asyncio's own, `dst`
    when a date is formatted, as uvicorn does each second. Seen with CPython 3.11.
    """
    clear: Callable[[], object]
    # The first replaces the second in CPython 3.13; both are documented in `sys`.
    clear = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache  # noqa: SLF001
    clear()


def _replace_kept_objects(loop: asyncio.AbstractEventLoop) -> None:
    """Let uvloop and asyncio keep other objects for reuse than those of the streams, which lie in every arena.

    They keep the memory of the first objects that are freed, and nothing makes them return it. So all of it is taken
    into use, and as much new memory, which lies close together. The new objects are freed first, and are kept then;
    for the others there is no room.
    """
    kept, new = _objects(loop), _objects(loop)
    loop.call_later(_SOON_SECONDS, _free, new, kept)


def _objects(loop: asyncio.AbstractEventLoop) -> list[object]:
    """Return as many objects of each type as are kept: timers, callbacks and awaited futures."""
    timers = [loop.call_later(_SOON_SECONDS, int) for _ in range(_KEPT)]
    for timer in timers:
        timer.cancel()
    calls = [loop.call_soon(int) for _ in range(_KEPT)]
    return [*timers, *calls, *(loop.create_future().__await__() for _ in range(_KEPT))]


def _free(*some: list[object]) -> None:
    """Free objects, and return free memory to the system.

    Without malloc_trim(3), glibc keeps the freed pages; other C libraries do not have that function.
    """
    for objects in some:
        objects.clear()
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
