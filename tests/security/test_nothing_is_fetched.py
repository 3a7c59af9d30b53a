"""No request makes the service open a connection that its settings do not name.

Open WebUI CVE-2026-45400 and AI SDK CVE-2026-8768 fetched what a request named, and followed redirects; LiteLLM
CVE-2024-6587 sent its key to the `api_base` of a request, and CVE-2026-42271 ran a command from one.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from streamsvc.config.provider_settings import ProviderSettings
from streamsvc.config.settings import Settings
from support import contents
from support.asking import CLIENTS, Request, answered
from support.native import HURRIED
from support.service import Service, serving
from support.upstreams import GEMINI, OPENAI, Script, Upstream, finish, status, text, upstream

OPENAPI = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
WELL: Script = (text("Fine."), finish())
ENTRIES = ("openai", "gemini", "fake")


class Canary:
    """A server that no request may reach.

    Attributes:
        host: its address and port.
        connections: how many clients have connected.
    """

    def __init__(self) -> None:
        self.host = ""
        self.connections = 0

    async def accept(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


@pytest.fixture(scope="module")
async def canary() -> AsyncIterator[Canary]:
    canary = Canary()
    async with await asyncio.start_server(canary.accept, "127.0.0.1", 0) as server:
        canary.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield canary
        assert canary.connections == 0


@pytest.fixture(scope="module")
async def api() -> AsyncIterator[Upstream]:
    async with upstream(*WELL) as api:
        yield api


@pytest.fixture(scope="module")
async def service(api: Upstream) -> AsyncIterator[Service]:
    entries: dict[str, ProviderSettings] = {
        "openai": OPENAI.entry(api.url, allow_extra_body=True),
        "gemini": GEMINI.entry(api.url, allow_extra_body=True),
        "fake": HURRIED,
    }
    async with serving(Settings(providers=entries), {}) as service:
        yield service


def addresses(host: str) -> Iterator[str]:
    """Yield addresses of a server, in the forms that one parser reads differently from another."""
    for scheme in ("http", "https", "HTTP", "ftp", "file", "gopher"):
        yield f"{scheme}://{host}/secret.png"
    yield f"http://example.com@{host}/x.png"
    yield f"http://{host}\\@example.com/x.png"
    yield f"//{host}/x.png"
    yield f"http:{host}/x.png"
    yield f"http://{host.replace('127.0.0.1', '2130706433')}/x.png"
    yield f"http://{host.replace('127.0.0.1', '[::ffff:127.0.0.1]')}/x.png"


def bodies(entry: str, address: str) -> Iterator[Request]:
    """Yield requests that name an address wherever a request could."""
    native, openai, chat = (CLIENTS[name] for name in ("native", "openai", "ai-sdk"))
    for message in (
        contents.image(address),
        contents.file(file_data=address),
        contents.file(file_id=address),
        contents.file(file_url=address),
    ):
        body = {"provider": entry, "messages": [message]}
        yield Request(native.path, native.request().headers, body)
        yield openai.request(entry, messages=[message])
    part = {"type": "file", "mediaType": "image/png", "url": address}
    yield chat.request(entry, messages=[{"id": "m", "role": "user", "parts": [part]}])


REDIRECTING = ("api_base", "base_url", "api_key", "organization", "proxy", "headers", "extra_headers",
               "custom_llm_provider", "url", "endpoint", "webhook", "callback", "command")  # fmt: skip


def redirecting(entry: str, address: str) -> Iterator[Request]:
    """Yield requests with the fields by which other gateways let a client choose the upstream."""
    for client in (CLIENTS[name] for name in ("native", "openai", "ai-sdk")):
        for name in REDIRECTING:
            yield client.request(entry, **{name: address})
            yield client.request(entry, extra_body={name: address})
        yield client.request(address)
        yield client.request(f"{entry}/{address}")
    for name in REDIRECTING:
        yield Request(f"/stream-ai?prompt=hi&provider={entry}&{name}={address}", {})


@pytest.mark.parametrize("entry", ENTRIES)
async def test_cve_2026_45400_urls_in_requests_are_never_fetched(
    service: Service, api: Upstream, canary: Canary, entry: str
) -> None:
    """An image's URL is passed on to a provider that takes one, or refused."""
    before = len(api.calls)
    for address in addresses(canary.host):
        for request in bodies(entry, address):
            assert (await answered(service.port, request)).status in {200, 400, 413, 422}
    assert canary.connections == 0
    assert (len(api.calls) > before) == (entry == "openai")


@pytest.mark.parametrize("entry", ENTRIES)
async def test_cve_2024_6587_no_request_chooses_the_upstream(
    service: Service, api: Upstream, canary: Canary, entry: str
) -> None:
    for request in redirecting(entry, f"http://{canary.host}/v1"):
        assert (await answered(service.port, request)).status in {200, 400, 404, 422}
    assert canary.connections == 0
    for call in api.calls:
        assert call.headers["host"] in api.url
        assert canary.host not in f"{call.path} {call.headers}"


@pytest.mark.parametrize("entry", ENTRIES[:2])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_cve_2026_8768_redirect_of_an_upstream_is_not_followed(
    service: Service, api: Upstream, canary: Canary, entry: str, code: int
) -> None:
    """Its target would get the key and the prompt."""
    there = {"Location": f"http://{canary.host}/v1/chat/completions"}
    api.script((status(code, b"", there),))
    try:
        answer = await answered(service.port, CLIENTS["native"].request(entry))
    finally:
        api.script(WELL)
    assert b'"status":"failed"' in answer.raw
    assert canary.connections == 0


RISKY = re.compile(
    r"(?i)(url|uri|path|.*_(url|uri|path|base)|.*(command|cmd|exec|shell|webhook|callback)|headers|env|proxy|host"
    r"|endpoint|file_?path)"
)
ALLOWED = {
    *((name, "image_url") for name in ("ImagePart", "ChatImagePart")),
    *((name, "url") for name in ("ImageAddress", "UIPart")),
}
"""The image that a provider fetches, and the parts of `useChat`."""


def fields_of_requests() -> set[tuple[str, str]]:
    """Return each schema that a request's body may have in it, with each of its fields."""
    document = json.loads(OPENAPI.read_text())
    schemas = document["components"]["schemas"]
    bodies = [
        operation["requestBody"]
        for path in document["paths"].values()
        for operation in path.values()
        if "requestBody" in operation
    ]
    seen: set[str] = set()
    ahead = names_in(bodies)
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead |= names_in(schemas[name])
    return {(name, field) for name in seen for field in schemas[name].get("properties", {})}


def names_in(value: object) -> set[str]:
    """Return the names of the schemas that a part of the document refers to."""
    return set(re.findall(r"#/components/schemas/(\w+)", json.dumps(value)))


def test_cve_2026_42271_no_request_has_a_command_path_or_address() -> None:
    """Of all the fields in the OpenAPI document; it has every field that the service reads."""
    fields = fields_of_requests()
    assert len(fields) > 50
    found = {(name, field) for name, field in fields if RISKY.fullmatch(field)}
    assert found == ALLOWED
