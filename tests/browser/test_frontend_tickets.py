"""Pages that a ticket lets in: the page and the back ends of `docs/frontend.md`, in every browser.

The service is a process, started as an operator starts it.
"""

import hashlib
import os
import re
import sys
from collections.abc import Awaitable, Callable
from itertools import chain, cycle, repeat
from pathlib import Path

import anyio
import pytest

from browser.farm import BROWSERS, REPORTING, Farm, browser, farm
from browser.guide import FILES
from support.eventstream import parse
from support.parts import find
from support.process import FAKE, Running, serve, write_config
from support.proxy import after_events, breaking_proxy, never

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

TEXT = " ".join(f"word{number}" for number in range(24)) + " and the end."
KEY = "ssk_shop1_" + "a" * 40
BACK_ENDS = ("tickets.py", "tickets.mjs")
ASK = {
    "tickets.py": "import sys, tickets; print(tickets.address_for(sys.argv[1]))",
    "tickets.mjs": 'import { addressFor } from "./tickets.mjs"; console.log(await addressFor(process.argv[1]))',
}
"""What an application does with each back end."""


async def address_from(name: str, directory: Path, environ: dict[str, str], question: str) -> str:
    """Return what a back end of the document hands out."""
    command = [sys.executable, "-c", ASK[name], question]
    if name.endswith(".mjs"):
        command = [find("node"), "--input-type=module", "-e", ASK[name], question]
    run = await anyio.run_process(command, cwd=directory, env=environ)
    return run.stdout.decode().strip()


def asker(
    back_end: str, directory: Path, environ: dict[str, str], handed_out: list[str]
) -> Callable[[str], Awaitable[str]]:
    """Return what answers the page's POST to `/ask`."""

    async def ask(question: str) -> str:
        address = await address_from(back_end, directory, environ, question)
        handed_out.append(address)
        return address

    return ask


async def watch(pages: Farm, service: Running, name: str, back_end: str, directory: Path) -> None:
    """Open the page in a browser whose connections break twice, and check that its address is dead afterwards."""
    environ = {**os.environ, "PAGE": pages.url, "ANSWERS_KEY": KEY}
    handed_out: list[str] = []
    cuts = chain(repeat(after_events(4), 2), repeat(never))
    async with breaking_proxy(service.port, cuts) as proxy:
        page = FILES["ticket.html"]
        page = page.replace(
            'const service = "";', f'const service = "http://127.0.0.1:{proxy.port}";'
        )
        pages.pages[f"/{name}"] = page.replace('"/ask"', f'"/ask-{name}"') + REPORTING
        pages.asked[f"/ask-{name}"] = asker(back_end, directory, environ, handed_out)
        async with browser(name, f"{pages.url}/{name}?{name}"):
            with anyio.fail_after(60):
                await pages.until_shown(name, TEXT)
        assert proxy.broken == 2
        assert len(proxy.requests) == 3
    [address] = handed_out
    shown = pages.history[name]
    assert all(TEXT.startswith(text) for text in shown)
    assert shown == sorted(shown, key=len)  # no replay: each reconnect goes on at the exact word
    answer = await service.client.get(address, headers={"Origin": pages.url})
    [done] = parse(answer.content)
    assert done.json["error"]["code"] == "ticket_spent"


@pytest.mark.needs("firefox", "webkit", "node")
@pytest.mark.promise("door:browser")
@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
async def test_ticket_lets_every_browser_in_and_is_dead_afterwards(tmp_path: Path) -> None:
    """Connections are cut twice in mid-answer; the words go on, each exactly once."""
    key_hash = hashlib.sha256(KEY.encode()).hexdigest()
    (tmp_path / "keys.toml").write_text(
        f'[[principals.shop.keys]]\nid = "shop1"\nhash = "sha256:{key_hash}"\ncreated = 2026-11-26T00:00:00Z\n'
    )
    (tmp_path / "keys.toml").chmod(0o600)
    async with farm() as pages:
        fake: dict[str, object] = {**FAKE, "text": TEXT, "words_per_second": 60.0}
        write_config(
            tmp_path,
            {
                "auth": {"keys_file": "keys.toml"},
                "cors": {"origins": [pages.url]},
                "stream": {"retry_ms": 500},
                "providers.fake": fake,
            },
        )
        async with serve(tmp_path, {}) as service:
            for name in BACK_ENDS:
                text = FILES[name].replace(
                    "http://127.0.0.1:8000", str(service.client.base_url).rstrip("/")
                )
                (tmp_path / name).write_text(text)
            async with anyio.create_task_group() as tasks:
                for name, back_end in zip(BROWSERS, cycle(BACK_ENDS), strict=False):
                    tasks.start_soon(watch, pages, service, name, back_end, tmp_path)
            assert len(
                re.findall(r"generation\.finished .*outcome=completed", service.output)
            ) == len(BROWSERS)
            assert "tkt_" not in service.output
            assert await service.terminate() == 0
            service.assert_quiet()
