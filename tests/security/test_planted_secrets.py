"""Secrets are planted wherever a request or an upstream can put one, and searched for wherever one could leak.

The service is a process of its own. All its loggers and those of its libraries are at DEBUG, and two places crash with
the secrets in the text of their exceptions.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support import contents
from support.asking import CLIENTS, Request, answered, chat_stream, fetch, get, sent
from support.collector import Collector, collecting
from support.eventstream import Answer
from support.issuer import OTHER_KEY, claims, issuing, token
from support.native import NEVER
from support.planted import (
    ANSWERED,
    CARRIERS,
    CONTENTS,
    CREDENTIALS,
    FAILING,
    KEYS,
    REQUESTED,
    TRACE,
    chosen,
    dump,
    found_in,
    headers,
)
from support.planted_service import serving
from support.rawhttp import exchange
from support.redis_servers import RedisServer, running_redis
from support.upstreams import upstream

RIVAL = KEYS["rival"]
ELSEWHERE = {"Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"}
FIGURES = (
    *(("/metrics", "text/plain"), ("/metrics", "application/openmetrics-text")),
    ("/operations/state", "application/json"),
)
DIALECTS = ("native-get", "native", "text", "plain", "openai", "openai-whole", "ai-sdk")


@dataclass
class Search:
    """What the service has said.

    Attributes:
        own: responses that may have the contents of their own request and answer.
        others: responses that may have nothing.
    """

    own: list[Answer] = field(default_factory=list)
    others: list[Answer] = field(default_factory=list)

    def assert_nothing_leaked(self) -> None:
        for answer in (*self.own, *self.others):
            assert found_in(seen(answer), CREDENTIALS) == set(), seen(answer)[:2000]
        for answer in self.others:
            assert found_in(seen(answer), CONTENTS) <= {"metadata"}, seen(answer)[:2000]


def seen(answer: Answer) -> bytes:
    """Return a response with its head."""
    return repr(answer.header_list).encode() + bytes(answer.raw)


def planted(name: str, provider: str, mode: str) -> Request:
    """Return a request of a client, full of secrets."""
    client = CLIENTS[name]
    prompt = f"{CONTENTS['prompt']} mode={mode}"
    if client.wraps is None:
        return get(f"/stream-ai?prompt={prompt.replace(' ', '%20')}&provider={provider}")
    image = contents.asking(
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,iVBORw0KGgoA{CONTENTS['image']}"},
        }
    )
    image["content"][0]["text"] = prompt
    system = {"role": "system", "content": CONTENTS["system"]}
    tool = contents.tool("look_up", description=CONTENTS["tool"])
    common: dict[str, Any] = {"tools": [tool], "user": CONTENTS["user"]}
    if client.wraps == "chat":
        message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": prompt}]}
        return client.request(provider, chat=CONTENTS["chat"], messages=[message])
    common["metadata"] = {"note": CONTENTS["metadata"]}
    request = client.request(provider, messages=[system, image], **common)
    body = {name: value for name, value in (request.body or {}).items() if name != "prompt"}
    return Request(request.target, request.headers, body)


class Scenario:
    """Every route, in every outcome.

    Attributes:
        port: of the service.
        search: gets the responses.
        minted: further credentials, which the service or the issuer has made.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.search = Search()
        self.minted: dict[str, str] = {}

    async def run(self) -> None:
        await self.answers()
        await self.failures()
        await self.refusals()
        await self.chats_and_tickets()
        await self.tokens()
        await self.others()
        places = ("/v1/providers", "/v1/models", "/readyz", "/healthz", "/openapi.json", "/")
        for path in (*places, "/operations"):
            self.search.others.append(await fetch(self.port, path, headers=headers()))
        await self.figures()

    async def figures(self) -> None:
        """What operators see on this machine; nobody else sees it."""
        here = headers()
        del here["X-Forwarded-For"]
        pages = []
        for path, accept in FIGURES:
            for given, status in ((headers(), 403), (here, 200)):
                answer = await fetch(self.port, path, headers={**given, "Accept": accept})
                assert answer.status == status
                pages.append(bytes(answer.raw))
                self.search.others.append(answer)
        _, text, _, openmetrics, _, state = pages
        for page in (text, openmetrics):
            assert b"streamsvc_calls_total" in page
            assert b'"team"' not in page  # the principal is not a label
        assert TRACE.encode() in openmetrics  # in exemplars
        shown = json.loads(state)
        assert len(shown["failures"]) > len(FAILING)
        assert shown["refusals"]["unauthorized"] > 1

    async def ask(
        self, name: str, provider: str, mode: str, more: Mapping[str, str] | None = None
    ) -> Answer:
        request = planted(name, provider, mode)
        return await answered(self.port, request, headers={**headers(), **(more or {})})

    async def answers(self) -> None:
        """Success, a fallback, an answer that is cut, one that is stopped, one that is left."""
        key = {"Idempotency-Key": CONTENTS["key"]}
        own = self.search.own
        own += [await self.ask(name, "main", "well") for name in DIALECTS]
        own += [
            await self.ask("native", "falling", "well"),
            await self.ask("native", "main", "cut"),
            await self.ask("openai", "main", "named"),
            await self.ask("native", "main", "named"),
        ]
        own += [await self.ask("native", "main", "well", key) for _ in range(2)]
        own += [
            await answered(self.port, planted("native", "main", "well"), headers=headers(carrier))
            for carrier in CARRIERS
        ]
        for answer in own:
            assert CONTENTS["answer"] in answer.raw.decode(), answer.raw
        for is_stopped in (True, False):
            request = planted("native", "main", "hold")
            async with sent(self.port, request, headers=headers()) as answer:
                await answer.raw_until(CONTENTS["answer"].encode())
                path = answer.headers["location"].removesuffix("/events")
                if is_stopped:
                    await fetch(self.port, f"{path}/stop", method="POST", headers=headers())
                    own.append(answer)
                    await answer.body()

    async def failures(self) -> None:
        """What the upstream repeats in its errors, and what crashes in the service itself."""
        others = self.search.others
        for mode in FAILING:
            for name in ("native", "openai-whole", "ai-sdk"):
                others.append(await self.ask(name, "main", mode))
                assert CONTENTS["answer"] not in others[-1].raw.decode()
        others += [await self.ask(name, "fake", "crash") for name in ("native", "openai-whole")]
        crashed = await fetch(self.port, f"/v1/generations/{CONTENTS['query']}", headers=headers())
        assert crashed.status == 500
        others.append(crashed)

    async def refusals(self) -> None:
        """Requests that are refused; a message may repeat a name from its own request, and nothing else."""
        key = {"Idempotency-Key": CONTENTS["key"]}
        others = self.search.others
        others.append(await self.ask("native", "main", "bad", key))  # the key of another request
        others.append(await self.ask("native", "main", "well", {"Content-Encoding": "gzip"}))
        others.append(await self.ask("native", "main", "well", ELSEWHERE))
        others.append(await self.ask("native-get", "main", "well", {"Sec-Purpose": "prefetch"}))
        body = json.dumps({"prompt": CONTENTS["prompt"], "temperature": CONTENTS["query"]}).encode()
        for path in ("/v1/generations", "/v1/chat/completions", "/api/chat"):
            for raw in (body, body[:-4], CONTENTS["prompt"].encode()):
                answer = await fetch(self.port, path, method="POST", headers=headers(), body=raw)
                assert 400 <= answer.status < 500
                others.append(answer)
        query = CONTENTS["query"]
        for target in (f"/none?{query}={query}", f"/stream-ai?prompt=x&format={query}"):
            self.search.own.append(await fetch(self.port, target, headers=headers()))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers().items())
        for line in (
            f"GET /\x01{query} HTTP/1.1",
            f"{query} / HTTP/9",
            f"GET http://x/?{query} HTTP/1.1",
        ):
            seen = await exchange(self.port, [f"{line}\r\n{head}\r\n".encode()])
            for refused in seen.answers:
                assert found_in(f"{refused.fields}".encode() + refused.body, CREDENTIALS) == set()

    async def chats_and_tickets(self) -> None:
        """A chat that is resumed and stopped; tickets that are opened, spent, unknown."""
        self.search.own.append(
            await answered(self.port, chat_stream(CONTENTS["chat"]), headers=headers())
        )
        stop = f"/api/chat/{CONTENTS['chat']}/stop"
        for more in (ELSEWHERE, {}):  # the first one is refused
            await fetch(self.port, stop, method="POST", headers={**headers(), **more})
        self.search.own.append(await self.ask("ai-sdk", "main", "well"))
        request = {"prompt": f"{CONTENTS['prompt']} mode=well", "provider": "main"}
        made = await fetch(
            self.port,
            "/v1/tickets",
            method="POST",
            headers=headers(),
            body=json.dumps({"request": request}).encode(),
        )
        ticket = json.loads(bytes(made.raw))
        self.minted["ticket"] = ticket["ticket"]
        opened = await fetch(self.port, ticket["url"], headers=headers())
        assert CONTENTS["answer"] in opened.raw.decode()
        self.search.own.append(opened)
        for url in (ticket["url"], ticket["url"] + "x"):
            self.search.others.append(await fetch(self.port, url, headers=headers()))

    async def tokens(self) -> None:
        """A token that is valid, one of a stranger, one with a claim of a wrong shape."""
        good = token(claims(sub="team", note=CONTENTS["query"]))
        shapeless = token(claims(sub="team", limits={"max_viewers": CONTENTS["query"]}))
        for jwt, status in ((good, 200), (token(key=OTHER_KEY), 401), (shapeless, 401)):
            for part in jwt.split(".")[1:]:  # its claims and its signature
                self.minted[f"part {len(self.minted)} of a token"] = part
            answer = await self.ask("native", "main", "well", headers("bearer", jwt))
            assert answer.status == status
            (self.search.own if status == 200 else self.search.others).append(answer)

    async def others(self) -> None:
        """What another principal and nobody at all can see of all that."""
        others = self.search.others
        for answer in [*self.search.own]:
            path = f"/v1/generations/{answer.headers.get('x-generation-id', NEVER)}"
            for end in ("", "/events"):
                others.append(await fetch(self.port, path + end, headers=headers("bearer", RIVAL)))
                assert others[-1].status == 404
        asked = [
            await self.ask("native", "main", "well", headers("bearer", RIVAL)) for _ in range(2)
        ]
        assert [answer.status for answer in asked] == [200, 429]
        others.append(asked[1])
        chat = chat_stream(CONTENTS["chat"])
        others.append(await answered(self.port, chat, headers=headers("bearer", RIVAL)))
        assert others[-1].status == 204
        for carrier in CARRIERS:
            for wrong in ("wrong", "jwt"):
                given = headers(carrier, CREDENTIALS[wrong])
                request = planted("native", "main", "well")
                others.append(await answered(self.port, request, headers=given))
                assert others[-1].status == 401
        others.append(await answered(self.port, planted("openai", "main", "well")))
        assert others[-1].status == 401


OUTCOMES = {
    *("completed", "client_stop", "no_viewers", "drained", "internal_error"),
    *("upstream_error", "upstream_cut"),
}


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs("valkey"))])
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer | None]:
    """A Redis server of its own, with a password; or none."""
    if request.param == "memory":
        yield None
        return
    with running_redis("valkey", password=CREDENTIALS["redis"]) as server:
        yield server


@pytest.mark.promise("seen:never-secret")
async def test_planted_secrets_leak_nowhere(
    redis_server: RedisServer | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With Redis, the log is in JSON, and spans follow the latest conventions."""
    everything = {**CREDENTIALS, **CONTENTS}
    async with upstream() as api, issuing() as tokens, AsyncExitStack() as stack:
        api.choose = chosen
        url = redis_server.url if redis_server else ""
        collector = stack.enter_context(collecting())
        service = await stack.enter_async_context(
            serving(tmp_path, api, tokens.url, url, collector.url)
        )
        scenario = Scenario(service.port)
        await scenario.run()
        held = await stack.enter_async_context(
            sent(service.port, planted("native", "main", "hold"), headers=headers())
        )
        await held.raw_until(CONTENTS["answer"].encode())
        if redis_server:
            assert_store_is_clean(dump(redis_server), scenario.minted)
        assert found_in(command_line(service.process.pid), everything) == set()
        assert await service.terminate() == 0
        scenario.search.assert_nothing_leaked()
    output = service.output + "".join(capfd.readouterr())
    assert found_in(output, {**everything, **scenario.minted}) == set()
    assert_spans_are_clean(collector, {**everything, **scenario.minted})
    outcomes = {found[1] for found in re.finditer(r'\boutcome(?:=|": ")(\w+)', output)}
    assert outcomes >= OUTCOMES - ({"drained"} if redis_server else set())
    for said in (
        r'request\.crashed.*exception(?:=|": ")LookupError',
        r'DEBUG   any\.library crashing|"debug", "logger": "any\.library", "message": "crashing"',
        r"\brequest\.ended\b.*/v1/generations/\{id\}",
    ):
        assert re.search(said, output), said
    if redis_server:
        assert all(json.loads(line)["time"] for line in service.output.splitlines())


def assert_spans_are_clean(collector: Collector, secrets: Mapping[str, str]) -> None:
    """Check the spans of all that, which are all there."""
    assert collector.headers["x-key"] == CREDENTIALS["collector"]
    spans = collector.spans
    assert {it.trace_id for it in spans} == {TRACE}
    assert {it.kind for it in spans} == {"internal", "client", "server"}
    ends = {it.attributes.get("streamsvc.outcome") for it in spans}
    assert ends >= OUTCOMES - {"drained"}
    assert {it.attributes.get("http.response.status_code") for it in spans} >= {200, 404, 429, 500}
    assert len({it.attributes.get("error.type") for it in spans}) > len(FAILING) / 2
    for body in collector.bodies:
        assert found_in(body, secrets) == set(), [it for it in spans if found_in(f"{it}", secrets)]


def command_line(pid: int) -> bytes:
    """Return what other users of the machine see of a process; nothing where there is no /proc."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_bytes() if path.exists() else b""


def assert_store_is_clean(stored: Mapping[bytes, bytes], minted: Mapping[str, str]) -> None:
    """Check what a Redis server has: of a credential nothing, of a request and an answer what each needs."""
    may_have = {b"request": REQUESTED, b"log": ANSWERED, b"ticket": REQUESTED}
    kinds = set()
    for key, value in stored.items():
        kind = key.split(b":")[2]
        kinds.add(kind)
        assert found_in(key + value, {**CREDENTIALS, **minted}) == set(), key
        assert found_in(key, CONTENTS) == set()
        assert found_in(value, CONTENTS) <= may_have.get(kind, set()), (key, value[:500])
    assert kinds >= {b"meta", b"log", b"request", b"key", b"chat", b"ticket"}
