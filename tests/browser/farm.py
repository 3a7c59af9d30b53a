"""Real browsers with pages that report what they show.

A browser starts with an address on its command line, as for a person, and a page reports its text by POST to its own
server. Chromium, Firefox and WebKit therefore work alike, and no driver is between the page and the network:

    async with farm() as pages:
        pages.pages["/"] = PAGE + REPORTING  # any page that shows its text in an element with the id "answer"
        async with browser("webkit", f"{pages.url}/?one"):  # its reports are called "one"
            await pages.until_shown("one", "the whole text")

A test of all three: `@pytest.mark.parametrize("name", each(BROWSERS))`, with `each` from `support.parts`. WebKit is
WebKitGTK's MiniBrowser, the engine of Safari, on a display of its own; see `support/webkit.py`.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import PurePath

import anyio

from support import webkit
from support.parts import find

BROWSERS = ("chromium", "firefox", "webkit")

_CHROMIUM = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run",
    "--disable-popup-blocking",
)  # fmt: skip
_FIREFOX_PREFERENCES = """\
user_pref("app.normandy.enabled", false);
user_pref("app.update.enabled", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.safebrowsing.downloads.remote.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("dom.disable_open_during_load", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "data:,#");
user_pref("toolkit.telemetry.enabled", false);
"""

REPORTING = """
<script>
  // Reports the text of the page whenever it changes. Reports may overtake each other on the way, so each has
  // the time of the page load, and a number.
  let number = 0;
  const report = () => fetch("/report" + location.search, {
    method: "POST",
    keepalive: true,  // a report outlives a reload
    body: JSON.stringify([performance.timeOrigin, ++number, answer.textContent]),
  });
  new MutationObserver(report).observe(answer, {childList: true, characterData: true});
</script>
"""

LEAVING = """
<a id="away" href="/away">away</a>
<script>
  // Reports the answer, leaves by a link in its middle, once, and reports whether the page that returns
  // is the one that was left.
  const shown = () => document.querySelector("SELECTOR")?.textContent ?? "";
  let reports = 0;
  const tell = (name, text) => fetch("/report?" + name, {
    method: "POST", body: JSON.stringify([performance.timeOrigin, ++reports, text]),
  });
  new MutationObserver(() => {
    tell("page", shown());
    if (shown().length < 20 || sessionStorage.left) return;
    sessionStorage.left = "yes";
    document.querySelector("#away").click();
  }).observe(document, {subtree: true, childList: true, characterData: true});
  addEventListener("pageshow", e => sessionStorage.left && tell("kept", String(e.persisted)));
</script>
"""

AWAY = """<!doctype html><script>
  addEventListener("pageshow", () => {
    fetch("/report?away", {method: "POST", body: JSON.stringify([performance.timeOrigin, 1, "here"])});
    fetch("/return").then(() => history.back());
  });
</script>"""
"""A page that goes back once `Farm.returns` is set."""

_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass
class Farm:
    """A server of pages.

    Attributes:
        url: its address.
        pages: the pages by path.
        asked: makes the responses to POST, by path, from the body of the request.
        shown: the latest text of each page.
        history: all texts of each page, in order.
        returns: set to let the page `AWAY` go back.
    """

    url: str = ""
    pages: dict[str, str] = field(default_factory=dict)
    asked: dict[str, Callable[[str], Awaitable[str]]] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    history: dict[str, list[str]] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    returns: asyncio.Event = field(default_factory=asyncio.Event)
    _latest: dict[str, tuple[float, int]] = field(default_factory=dict)

    async def until_shown(self, name: str, text: str) -> None:
        """Wait until a page shows exactly *text*."""
        while self.shown.get(name) != text:
            self.changed.clear()
            await self.changed.wait()

    def _take(self, name: str, loaded: float, number: int, text: str) -> None:
        order = (loaded, number)
        if order > self._latest.get(name, (0.0, 0)):
            self._latest[name] = order
            self.shown[name] = text
            self.history.setdefault(name, []).append(text)
            self.changed.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split(" ", 2)
            path, _, query = target.partition("?")
            body = ""
            if method == "POST":
                length = next(
                    int(line.partition(":")[2])
                    for line in head.split("\r\n")
                    if line.lower().startswith("content-length:")
                )
                sent = (await reader.readexactly(length)).decode()
                if path in self.asked:
                    body = await self.asked[path](sent)
                else:
                    self._take(query, *json.loads(sent))
            elif path == "/return":
                await self.returns.wait()
            else:
                body = self.pages.get(path, "")
            content = body.encode()
            kind = _TYPES.get(PurePath(path).suffix, "text/html")
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: %b; charset=utf-8\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
                % (kind.encode(), len(content), content)
            )
            await writer.drain()
        writer.close()


@asynccontextmanager
async def farm() -> AsyncIterator[Farm]:
    """Run a server of pages on the loopback."""
    one = Farm()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield one


@asynccontextmanager
async def browser(name: str, url: str) -> AsyncIterator[None]:
    """Open an address in a fresh browser, and end the browser on leaving.

    Args:
        name: one of `BROWSERS`.
        url: the address.
    """
    command = find(name)
    async with AsyncExitStack() as stack:
        profile = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        environ: dict[str, str] | None = None
        match name:
            case "chromium":
                arguments = [*_CHROMIUM, f"--user-data-dir={profile}"]
            case "firefox":
                await anyio.Path(profile, "user.js").write_text(_FIREFOX_PREFERENCES)
                arguments = ["--headless", "--no-remote", "--profile", profile]
            case _:
                display = await stack.enter_async_context(webkit.display())
                environ = webkit.environment(display, home=profile)
                arguments = [*webkit.ARGUMENTS]
        await stack.enter_async_context(webkit.running(command, *arguments, url, environ=environ))
        yield
