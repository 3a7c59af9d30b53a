"""Event loops for tests, as bare as that of a process."""

import asyncio
from collections.abc import Callable

import sniffio


def on_asyncio(
    make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> tuple[str, dict[str, object]]:
    """Return a backend for anyio's plugin, whose loop anyio knows only by its tasks.

    So it is in a process that `asyncio.run` has started. pytest's runner would say by a context variable
    which library it is, also to callbacks of the loop.
    """

    def bare() -> asyncio.AbstractEventLoop:
        sniffio.current_async_library_cvar.set(None)
        return make()

    return "asyncio", {"loop_factory": bare}
