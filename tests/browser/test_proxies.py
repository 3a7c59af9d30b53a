"""The statements of the documents about reverse proxies, checked with `curl` through each proxy."""

import asyncio
import json
import re
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from browser.guide import DOCS, files_of
from browser.proxies import PROXIES, Address, reverse_proxy
from support.parts import find
from support.process import Running, serve

pytestmark = [pytest.mark.needs("curl", "openssl"), pytest.mark.timeout(90)]

WORDS = [f"word{number}" for number in range(24)]
TEXT = " ".join(WORDS)
PER_SECOND = 20
PLAIN_PAGE = "guides/plain-text.md"
VERSIONS = ("--http1.1", "--http2")
THROUGH = [
    pytest.param(name, version, marks=pytest.mark.needs(name))
    for name in PROXIES
    for version in VERSIONS
]

LEFT_SECONDS = 10
"""The time in which a viewer that left is noticed, less than `ping_seconds`."""


@asynccontextmanager
async def through(
    name: str, directory: Path, *, without: str = "", ping_seconds: float = 15
) -> AsyncIterator[tuple[Running, Address]]:
    """Run a service, and a proxy in front of it with the configuration of the document."""
    settings = {
        "PROVIDERS__FAKE__REPLY": "text",
        "PROVIDERS__FAKE__TEXT": TEXT,
        "PROVIDERS__FAKE__WORDS_PER_SECOND": str(PER_SECOND),
        "PROVIDERS__FAKE__ALLOW_FAULTS": "true",
        "PROVIDERS__FAKE__ATTEMPTS": "1",
        "STREAM__PING_SECONDS": str(ping_seconds),
    }
    (directory / "site").mkdir()
    async with (
        serve(directory, settings) as service,
        reverse_proxy(
            name, directory, site=directory / "site", service_port=service.port, without=without
        ) as address,
    ):
        yield service, address


async def curl(*arguments: str) -> tuple[int, list[bytes]]:
    """Return the exit code, and the bytes of each read."""
    process = await asyncio.create_subprocess_exec(
        find("curl"), "-NskS", "--max-time", "20", *arguments, stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    reads = []
    while data := await process.stdout.read(65_536):
        reads.append(data)
    await process.communicate()
    assert process.returncode is not None
    return process.returncode, reads


TRIES = 4
"""A busy machine reads what has piled up, and shows one answer at a time otherwise than it was sent."""


async def words_a_read(url: str, version: str) -> float:
    """Return the mean number of words that arrive together."""
    code, reads = await curl(version, f"{url}/ai/stream-ai?prompt=x")
    assert code == 0
    said = re.findall(rb'"text":("[^"]*")', b"".join(reads))
    assert "".join(json.loads(word) for word in said) == TEXT
    return len(WORDS) / sum(b'"text":' in read for read in reads)


@pytest.mark.promise("stream:word-by-word")
@pytest.mark.parametrize(("name", "version"), THROUGH)
async def test_words_arrive_one_by_one_through_each_proxy(
    tmp_path: Path, name: str, version: str
) -> None:
    async with through(name, tmp_path) as (_, address):
        urls = [address.url]
        if name == "haproxy" and version == "--http1.1":
            urls.append(address.plain_url)
        for url in urls:
            together = [await words_a_read(url, version)]
            while together[-1] >= 1.5 and len(together) < TRIES:
                together.append(await words_a_read(url, version))
            assert together[-1] < 1.5


@pytest.mark.quiet
@pytest.mark.parametrize(
    ("name", "option", "is_plain"),
    [
        pytest.param("haproxy", "option http-no-delay", True, marks=pytest.mark.needs("haproxy")),
        pytest.param(
            "lighttpd",
            "server.stream-response-body = 2",
            False,
            marks=pytest.mark.needs("lighttpd"),
        ),
    ],
)
async def test_without_the_documented_option_words_arrive_together(
    tmp_path: Path, name: str, option: str, *, is_plain: bool
) -> None:
    """This shows that the option is needed; on a busy machine not in each of a few answers."""
    async with through(name, tmp_path, without=option) as (_, address):
        url = address.plain_url if is_plain else address.url
        together = 0.0
        for _ in range(TRIES):
            together = max(together, await words_a_read(url, "--http1.1"))
            if together > 1.6:
                break
        assert together > 1.6


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize("model", ["speaks", "thinks"])
@pytest.mark.parametrize(("name", "version"), THROUGH)
async def test_a_viewer_that_leaves_is_noticed_through_each_proxy(
    tmp_path: Path, name: str, version: str, model: str
) -> None:
    # As documented, lighttpd notices over HTTP/1.1 with the next word or keepalive.
    ping_seconds = 1 if (name, version) == ("lighttpd", "--http1.1") else 15
    fault = "&fault=silent" if model == "thinks" else ""
    async with through(name, tmp_path, ping_seconds=ping_seconds) as (service, address):
        process = await asyncio.create_subprocess_exec(
            find("curl"), "-NskS", version, f"{address.url}/ai/stream-ai?prompt=x{fault}",
            stdout=PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(20):
            await process.stdout.readuntil(b"\n\n")
        process.kill()
        await process.communicate()
        with anyio.fail_after(LEFT_SECONDS):
            await service.logged("outcome=no_viewers")


async def is_broken(url: str, version: str) -> bool:
    code, reads = await curl(version, f"{url}/ai/stream-ai?prompt=x&format=plain&fault=cut")
    assert TEXT.startswith(b"".join(reads).decode())
    return code != 0


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.needs(name)) for name in PROXIES]
)
async def test_the_table_is_right_about_broken_transfers(tmp_path: Path, name: str) -> None:
    """The document names the versions, which are those of Debian 12."""
    rows = re.findall(
        r"^\| (\w+) \| (\S+).*? \| (\S+).*? \|$", (DOCS / PLAIN_PAGE).read_text(), re.MULTILINE
    )
    table = {row[0].lower(): row[1:] for row in rows if "broken" in row[1] or "complete" in row[1]}
    async with through(name, tmp_path) as (_, address):
        found = [await is_broken(address.url, version) for version in VERSIONS]
    assert found == [cell.startswith("broken") for cell in table[name]]


async def run_script(directory: Path, url: str, version: str, prompt: str) -> tuple[int, str]:
    """Run the script of the document; return its exit code and its errors."""
    script = files_of(PLAIN_PAGE)["ask.sh"]
    script = script.replace("http://127.0.0.1:8000", f"{url}/ai")
    script = script.replace("curl -NsSG", f"curl -NsSGk {version}")
    (directory / "ask.sh").write_text(script)
    process = await asyncio.create_subprocess_exec(
        "sh", "ask.sh", prompt, cwd=directory, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(20):
        _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode()


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(("name", "version"), THROUGH)
async def test_a_script_recognises_a_complete_answer_through_each_proxy(
    tmp_path: Path, name: str, version: str
) -> None:
    async with through(name, tmp_path) as (service, address):
        assert await run_script(tmp_path, address.url, version, "x & y?") == (0, "")
        assert (tmp_path / "whole.txt").read_text() == f"{TEXT}\n"

        faulty = f"{address.url}/ai/stream-ai?prompt=x&format=plain&fault=cut&end=the-end"
        code, reads = await curl(version, faulty)
        assert (code, b"".join(reads).splitlines()[-1]) == (0, b"the-end failed upstream_cut")

        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(run_script(tmp_path, address.url, version, "x"))
            await viewers(service, 1)
            service.process.kill()
        code, errors = asked.result()
        assert (code, errors.splitlines()[-1]) == (2, "The connection was cut.")


async def viewers(service: Running, count: int) -> None:
    """Wait until *count* viewers are connected."""
    with anyio.fail_after(10):
        while (await service.client.get("/readyz")).json()["viewers"] != count:
            pass
