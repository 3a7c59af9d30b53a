"""Pages in Chromium, driven: a site on an origin of its own, and a browser to open it in."""

import functools
import http.server
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from playwright.async_api import Page, async_playwright
from typing_extensions import override

from conftest import missing


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Files of a directory, without a line on standard error for each."""

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def site(directory: Path) -> Iterator[str]:
    """Serve a directory on an origin of its own."""
    handler = functools.partial(_QuietHandler, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@asynccontextmanager
async def chromium(*arguments: str) -> AsyncIterator[Page]:
    """Open a page in a fresh Chromium; other tabs are `page.context.new_page()`."""
    executable = shutil.which("chromium")
    if executable is None:
        missing("Chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with async_playwright() as playwright:
            context = await playwright.chromium.launch_persistent_context(
                profile,
                executable_path=executable,
                headless=True,
                args=[
                    "--headless", "--no-sandbox", "--disable-gpu",
                    "--disable-background-networking", *arguments,
                ],
            )  # fmt: skip
            try:
                yield context.pages[0]
            finally:
                await context.close()
