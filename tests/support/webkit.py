"""WebKitGTK's MiniBrowser, the engine of Safari, on a display of its own.

MiniBrowser has no headless mode, so it gets an X server without a screen: Xvfb. `browser.farm` opens pages in it:

    async with farm() as pages, browser("webkit", f"{pages.url}/?one"):
        await pages.until_shown("one", "the whole text")

Debian's packages are libwebkit2gtk-4.1-0 and xvfb (https://webkitgtk.org).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import anyio

ARGUMENTS = ("--private", "--javascript-can-open-windows-automatically=true")
"""The command line before the address."""

START_SECONDS = 20
STOP_SECONDS = 5


def environment(display: str, home: str) -> dict[str, str]:
    """Return the environment of a browser.

    Args:
        display: the name of its X display.
        home: a directory for all that it stores.
    """
    places = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")
    return {**os.environ, **dict.fromkeys(places, home), "DISPLAY": display, "GDK_BACKEND": "x11"}


@asynccontextmanager
async def running(
    *command: str, environ: Mapping[str, str] | None = None, passes: tuple[int, ...] = ()
) -> AsyncIterator[None]:
    """Run a program without output, and end it on leaving.

    Args:
        command: the program and its arguments.
        environ: its environment, if it is not this one.
        passes: the file descriptors that it inherits.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environ,
        pass_fds=passes,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        with anyio.move_on_after(STOP_SECONDS, shield=True):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def display() -> AsyncIterator[str]:
    """Run an X server on the first free display; yield the name of the display."""
    reading, writing = os.pipe()
    try:
        server = ("Xvfb", "-displayfd", str(writing), "-nolisten", "tcp")
        async with running(*server, passes=(writing,)):
            with anyio.fail_after(START_SECONDS):
                await anyio.wait_readable(reading)
            yield f":{os.read(reading, 16).decode().strip()}"
    finally:
        os.close(reading)
        os.close(writing)
