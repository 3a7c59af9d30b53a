"""Pages that a ticket lets in: the page and the back ends of `docs/guides/tickets.md`, in every browser.

The service is a process, started as an operator starts it.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, cycle, repeat
from pathlib import Path

import anyio
import httpx2
import pytest

from browser.farm import BROWSERS, REPORTING, Farm, browser, farm
from browser.guide import FILES, with_service
from support.eventstream import parse
from support.parts import find
from support.process import FAKE, Running, serve, write_config
from support.proxy import after_events, breaking_proxy, never
from support.service import CLIENT_SECONDS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

TEXT = " ".join(f"word{number}" for number in range(24)) + " and the end."
BACK_ENDS = ("tickets.py", "tickets.mjs")
ASK = {
    "tickets.py": "import sys, tickets; print(tickets.address_for(sys.argv[1]))",
    "tickets.mjs": 'import { addressFor } from "./tickets.mjs"; console.log(await addressFor(process.argv[1]))',
}
"""What an application does with each back end."""


@dataclass
class BackEnd:
    """A back end of the document, in a process of its own for each question.

    Attributes:
        name: its file.
        directory: where that is.
        environ: its environment.
        handed_out: the addresses so far.
    """

    name: str
    directory: Path
    environ: Mapping[str, str]
    handed_out: list[str] = field(default_factory=list)

    async def answer(self, question: str) -> str:
        """Answer the page's POST: with the address of a ticket."""
        command = [sys.executable, "-c", ASK[self.name], question]
        if self.name.endswith(".mjs"):
            command = [find("node"), "--input-type=module", "-e", ASK[self.name], question]
        run = await anyio.run_process(command, cwd=self.directory, env=self.environ)
        self.handed_out.append(run.stdout.decode().strip())
        return self.handed_out[-1]


async def watch(pages: Farm, service: Running, name: str, back_end: BackEnd) -> None:
    """Open the page in a browser whose connections break twice, and check that its address is dead afterwards."""
    cuts = chain(repeat(after_events(4), 2), repeat(never))
    async with breaking_proxy(service.port, cuts) as proxy:
        text = FILES["ticket.html"].replace('"/ask"', f'"/ask-{name}"')
        url = f"http://127.0.0.1:{proxy.port}"
        pages.pages[f"/{name}"] = with_service(text, url) + REPORTING
        pages.asked[f"/ask-{name}"] = back_end.answer
        async with browser(name, f"{pages.url}/{name}?{name}"):
            with anyio.fail_after(60):
                await pages.until_shown(name, TEXT)
        assert proxy.broken == 2
        assert len(proxy.requests) == 3
    shown = pages.history[name]
    assert shown == sorted(shown, key=len)  # no replay: each reconnect goes on at the exact word
    [address] = back_end.handed_out
    answer = await service.client.get(address, headers={"Origin": pages.url})
    [done] = parse(answer.content)
    assert done.json["error"]["code"] == "ticket_spent"


@pytest.mark.needs("firefox", "webkit", "node")
@pytest.mark.promise("door:browser")
@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("resume:never-regenerate")
async def test_ticket_lets_every_browser_in_and_is_dead_afterwards(tmp_path: Path) -> None:
    """Connections are cut twice in mid-answer; the words go on, each exactly once."""
    command = [sys.executable, "-m", "streamsvc", "key", "new", "shop", "--file", "keys.toml"]
    key = (await anyio.run_process(command, cwd=tmp_path)).stdout.decode().strip()
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
                url = f"http://127.0.0.1:{service.port}"
                (tmp_path / name).write_text(FILES[name].replace("http://127.0.0.1:8000", url))
            environ = {**os.environ, "PAGE": pages.url, "ANSWERS_KEY": key}
            async with anyio.create_task_group() as tasks:
                for name, file in zip(BROWSERS, cycle(BACK_ENDS), strict=False):
                    back_end = BackEnd(file, tmp_path, environ)
                    tasks.start_soon(watch, pages, service, name, back_end)
            assert (await service.client.post("/v1/tickets", json={})).status_code == 401
            await service.logged(rf"(?s)(generation\.finished .*?completed.*?){{{len(BROWSERS)}}}")
            assert service.output.count("generation.finished") == len(BROWSERS)
            assert "tkt_" not in service.output
            assert await service.terminate() == 0
            service.assert_quiet()


@pytest.mark.promise("door:browser")
async def test_the_smallest_back_end_hands_out_an_address_that_opens_one_answer(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "streamsvc", "key", "new", "website", "--file", "keys.toml"]
    key = (await anyio.run_process(command, cwd=tmp_path)).stdout.decode().strip()
    page = "http://127.0.0.1:8001"
    settings = {"AUTH__KEYS_FILE": "keys.toml", "CORS__ORIGINS": page}
    async with (
        serve(tmp_path, settings) as service,
        httpx2.AsyncClient(timeout=CLIENT_SECONDS) as reader,
    ):
        for name in ("tickets.py", "back_end.py"):
            text = FILES[name].replace(":8000", f":{service.port}").replace("8001", "0")
            (tmp_path / name).write_text(text)
        environ = {**os.environ, "PAGE": page, "ANSWERS_KEY": key}
        command = [sys.executable, "back_end.py"]
        async with await anyio.open_process(command, cwd=tmp_path, env=environ) as back_end:
            assert back_end.stdout
            try:
                with anyio.fail_after(20):
                    printed = (await back_end.stdout.receive()).decode()
                    own = printed.removeprefix("Open ").rpartition("/")[0]
                    got = await reader.post(f"{own}/ask", content="Why stream?")
                    answer = await service.client.get(got.text, headers={"Origin": page})
            finally:
                back_end.terminate()
        assert parse(answer.content)[-1].json["status"] == "completed"
        assert (await service.client.get("/stream-ai?prompt=x")).status_code == 401
