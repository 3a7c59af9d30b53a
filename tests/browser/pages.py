"""Pages in a driven Chromium: a site on a separate origin, and a browser to open it in."""

import asyncio
import functools
import http.server
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
from playwright.async_api import Page, Playwright, async_playwright
from typing_extensions import override

from browser.shared_chromium import SHARED
from support.parts import find

CLIENTS = Path(__file__).parents[1] / "clients"


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves the files of a directory, and logs nothing."""

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def site(directory: Path) -> Iterator[str]:
    """Serve a directory on a separate origin."""
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
async def chromium(*arguments: str, keeps_pages: bool = False) -> AsyncIterator[Page]:
    """Open a page in a fresh profile of Chromium; other tabs are `page.context.new_page()`.

    If there is Chromium's build without windows, that is the one: it starts with half the work. The tests that need no
    driver (`farm`) run the usual one.

    Args:
        arguments: for the command line; then the browser is one of its own.
        keeps_pages: use the back/forward cache, as browsers do. Playwright cannot drive a page that
            has come back from it; a CDP session can.
    """
    executable = find("chromium")
    if not keeps_pages:
        executable = shutil.which("chromium-headless-shell") or executable
    async with async_playwright() as playwright:
        if arguments or keeps_pages:
            async with _own(playwright, executable, arguments, keeps_pages=keeps_pages) as page:
                yield page
            return
        browser = await playwright.chromium.connect_over_cdp(SHARED.url(executable))
        context = await browser.new_context(reduced_motion="reduce")  # a tenth less CPU time
        try:
            yield await context.new_page()
        finally:
            await context.close()
            await browser.close()  # disconnects


@asynccontextmanager
async def _own(
    playwright: Playwright, executable: str, arguments: Sequence[str], *, keeps_pages: bool
) -> AsyncIterator[Page]:
    """Open a page in a browser of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        context = await playwright.chromium.launch_persistent_context(
            profile,
            executable_path=executable,
            headless=True,
            reduced_motion="reduce",
            ignore_default_args=["--disable-back-forward-cache"] if keeps_pages else [],
            args=[
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                *arguments,
            ],
        )  # fmt: skip
        try:
            yield context.pages[0]
        finally:
            await context.close()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Page]:
    """Open an address, bound all actions on the page, and fail on any error of the page."""
    errors: list[str] = []
    with anyio.fail_after(40):
        async with chromium() as page:
            page.on("pageerror", lambda error: errors.append(str(error)))
            await page.goto(url)
            yield page
    assert errors == []


async def shown(page: Page, what: str, text: str) -> None:
    """Wait until an expression in the page equals *text*."""
    await page.wait_for_function(f"({what}) === {json.dumps(text)}")


async def recorded(page: Page, what: str) -> None:
    """Collect in `window.seen` what an expression has been after each change of this page, or the next one.

    A test that polled would miss states on a busy machine.
    """
    script = f"""
      window.seen = [];
      new MutationObserver(() => seen.push({what}))
        .observe(document, {{ childList: true, characterData: true, subtree: true }});
    """
    await page.add_init_script(script)
    await page.evaluate(script)


def _install(directory: Path, packages: Mapping[str, str]) -> Path:
    """Make the packages of `tests/clients` and these others importable in a directory; return where they are."""
    modules = Path(find("clients"))
    installed = directory / "node_modules"
    installed.mkdir()  # one of its own, because Vite keeps its cache there
    for module in modules.iterdir():
        if not module.name.startswith("."):
            (installed / module.name).symlink_to(module)
    for name, module_name in packages.items():
        (installed / name).symlink_to(modules / module_name)
    return modules


@asynccontextmanager
async def vite(directory: Path, service_port: int, **packages: str) -> AsyncIterator[str]:
    """Serve a directory with Vite's dev server and the directory's configuration; yields its address.

    Args:
        directory: the directory; the packages that `tests/clients/package.json` pins are installed there.
        service_port: the port of the service, which the test writes into the configuration.
        packages: further packages, by the name that readers know.
    """
    modules = _install(directory, packages)
    file = directory / "vite.config.mjs"
    written = file.read_text()
    assert "127.0.0.1:8000" in written
    file.write_text(written.replace("127.0.0.1:8000", f"127.0.0.1:{service_port}"))
    process = await asyncio.create_subprocess_exec(
        find("node"), modules / "vite" / "bin" / "vite.js",
        "--host", "127.0.0.1", "--port", "0", "--clearScreen", "false",
        cwd=directory,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    try:
        printed = b""
        with anyio.fail_after(30):
            while not (found := re.search(rb"http://127\.0\.0\.1:\d+", printed)):
                printed += (line := await process.stdout.readline())
                assert line, printed
        yield found[0].decode()
    finally:
        process.terminate()
        await process.wait()


async def bundle(directory: Path, entry: str, output: str, *options: str) -> None:
    """Bundle a script with the libraries that `tests/clients/package.json` pins."""
    modules = Path(find("clients"))
    command = modules / ".bin" / "esbuild"
    process = await asyncio.create_subprocess_exec(
        command, entry, "--bundle", "--format=esm", "--jsx=automatic", "--log-level=error",
        f"--outfile={output}", "--allow-overwrite", *options,
        cwd=directory,
        env={**os.environ, "NODE_PATH": str(modules)},
    )  # fmt: skip
    assert await process.wait() == 0
