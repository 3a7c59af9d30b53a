"""Event loops for tests, as plain as that of a real process."""

import asyncio
from collections.abc import Callable

import sniffio


def on_asyncio(
    make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> tuple[str, dict[str, object]]:
    """Return a backend for anyio's plugin on which anyio recognises asyncio only by the current task.

    In a process that `asyncio.run` starts, anyio does the same. The plugin would also set a context variable, and
    callbacks of the loop, which run outside any task, would find it.
    """

    def bare() -> asyncio.AbstractEventLoop:
        sniffio.current_async_library_cvar.set(None)
        return make()

    return "asyncio", {"loop_factory": bare}
