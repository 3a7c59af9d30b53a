"""What the service is built on: no version with a known hole, and nothing that it does not need."""

import ast
import re
from importlib import metadata
from pathlib import Path

import pytest

import streamsvc
from support.process import FAKE, Running
from support.rawhttp import exchange
from support.shared import quiet_service, shared_process

SOURCE = Path(streamsvc.__file__).parent
STATIC = SOURCE / "web" / "static"

process = shared_process({"providers.fake": FAKE})
service = quiet_service()


def test_starlette_floor_is_above_every_advisory() -> None:
    """CVE-2026-48710 (1.0.1), CVE-2026-48818 (1.1.0), CVE-2026-54283 (1.3.1), CVE-2025-62727 (0.49.1)."""
    [required] = [it for it in metadata.requires("streamsvc") or () if it.startswith("starlette")]
    floor = re.search(r">=([\d.]+)", required)
    assert floor
    assert tuple(map(int, floor[1].split("."))) >= (1, 3, 1)


UPGRADE = (
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def test_no_websocket_is_opened(service: Running) -> None:
    """Gemini's SDK brings a library for them; nothing here would authenticate one."""
    [answer] = (await exchange(service.port, [UPGRADE])).answers
    assert answer.status == 200
    assert "upgrade" not in answer.fields


URLS = {"url", "base_url", "url_for", "url_path_for"}


def test_cve_2026_48710_no_code_asks_for_the_url_of_a_request() -> None:
    """Starlette builds it from the `Host`, so that a client chose the path that a check saw ("BadHost")."""
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in [*(SOURCE / "web").rglob("*.py"), SOURCE / "app.py"]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in URLS
        and isinstance(node.value, ast.Name)
        and node.value.id in {"request", "conn", "connection", "websocket"}
    ]
    assert found == []


ASSIGNED = re.compile(r"([\w.#]+\[[^\]\n\"]+\])(?:\.\w+)*\s*[-+*/|&?]{0,2}=(?![=>])")
HARMLESS = {
    "calls.js": {"this.#drafts[index]"},
    "pulse.js": {"this.#fields[name]"},
    "race.js": {"this.#figures[/** @type {keyof typeof FIGURES} */ (key)]"},
}
"""An array, by a number; and objects, by the page's own names."""

LAST = re.compile(r"([\w.#]+)\[\1\.length - 1\]")
"""The last item of an array: a number, too."""


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda it: it.name)
def test_playground_uses_nothing_from_outside_as_the_key_of_an_object(path: Path) -> None:
    """AI SDK, June 2026: a chunk's id was one, and `__proto__` changed every object.

    Assigning to a computed member is how that happens.
    """
    assigned = set(ASSIGNED.findall(path.read_text()))
    assert {it for it in assigned if not LAST.fullmatch(it)} <= HARMLESS.get(path.name, set())
