"""Clients of each dialect: the requests they send, and the refusals they can read."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

import anyio

from support.eventstream import Answer, view

PROMPT = "Hello"

FAULTS = {
    "fake": "none",
    "broken": "cut",
    "restarts": "restart",
    "filtered": "content_filter",
    "held": "stall",
}
"""Entries of kind `fake`, and the fault of each; `held` sends three words, then nothing more."""

TEXT = 'Words, "quotes", é😀\r\n\u2028 and the end.'


def entries(**fields: object) -> dict[str, dict[str, object]]:
    """Return the tables of a `config.toml` for all `FAULTS`; each entry answers at once."""
    usual = {
        "kind": "fake",
        "text": TEXT,
        "reasoning": "Let me think.",
        "words_per_second": 0,
        "first_word_seconds": 0,
        "attempts": 2,
        "backoff_seconds": 0.01,
        "circuit_failures": 0,
    }
    return {
        f"providers.{name}": {**usual, "fault": fault, **fields} for name, fault in FAULTS.items()
    }


Shape = Literal["problem", "openai", "sentence"]


@dataclass(frozen=True)
class Request:
    """One HTTP request.

    Attributes:
        target: the path with its query.
        body: JSON; None makes it a GET.
    """

    target: str
    headers: Mapping[str, str]
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Client:
    """A client of one dialect.

    Attributes:
        name: its name in tests.
        path: the endpoint.
        shape: the shape of the refusals it gets.
        query: further parameters.
        accept: its `Accept` header.
        wraps: the kind of body it sends; None makes it a GET.
        stream: the `stream` field of a chat completion.
    """

    name: str
    path: str
    shape: Shape
    query: Mapping[str, str]
    accept: str = "*/*"
    wraps: Literal["native", "openai", "chat"] | None = "native"
    stream: bool = True

    @property
    def transcript(self) -> str:
        """The name of its transcripts: clients of the same dialect get the same bytes."""
        return "plain" if self.accept == "text/plain" else self.name.removesuffix("-get")

    def request(self, provider: str = "fake", *, chat: str = "chat-1", **fields: Any) -> Request:
        """Return a request to a provider entry, with further fields in its body."""
        headers = {"Accept": self.accept}
        query = dict(self.query)
        body: dict[str, Any] | None = None
        turn = {"role": "user", "content": PROMPT}
        match self.wraps:
            case None:
                query |= {"prompt": PROMPT, "provider": provider, **fields}
            case "native":
                body = {"prompt": PROMPT, "provider": provider, **fields}
            case "openai":
                body = {"model": provider, "messages": [turn], "stream": self.stream, **fields}
            case "chat":
                message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": PROMPT}]}
                body = {"id": chat, "messages": [message], "provider": provider, **fields}
        target = f"{self.path}?{urlencode(query)}" if query else self.path
        return Request(target, headers, body)


CLIENTS = {
    client.name: client
    for client in (
        Client("native-get", "/stream-ai", "problem", {}, wraps=None),
        Client("native", "/v1/generations", "problem", {}, "text/event-stream"),
        Client("text-get", "/stream-ai", "problem", {"format": "text"}, wraps=None),
        Client("text", "/v1/generations", "problem", {"format": "text"}, "text/event-stream"),
        Client("plain-get", "/stream-ai", "problem", {}, "text/plain", wraps=None),
        Client("plain", "/v1/generations", "problem", {"format": "plain"}),
        Client("openai", "/v1/chat/completions", "openai", {}, wraps="openai"),
        Client("openai-whole", "/v1/chat/completions", "openai", {}, wraps="openai", stream=False),
        Client("ai-sdk", "/api/chat", "sentence", {}, wraps="chat"),
        Client("ai-sdk-plain", "/api/chat", "sentence", {}, "text/plain", wraps="chat"),
    )
}


@asynccontextmanager
async def sent(
    port: int,
    request: Request,
    *,
    headers: Mapping[str, str] | None = None,
    raw: bytes | None = None,
    seconds: float = 20,
) -> AsyncIterator[Answer]:
    """Send a request, and yield the answer as soon as its head arrives.

    Args:
        port: the service's port.
        request: the request.
        headers: further headers.
        raw: a body that replaces the request's own.
        seconds: the time limit for everything done with the answer.
    """
    body = None if request.body is None else json.dumps(request.body).encode()
    with anyio.fail_after(seconds):
        async with view(
            port,
            request.target,
            method="GET" if body is None and raw is None else "POST",
            headers={**request.headers, **(headers or {})},
            body=body if raw is None else raw,
        ) as answer:
            yield answer


async def answered(
    port: int,
    request: Request,
    *,
    headers: Mapping[str, str] | None = None,
    raw: bytes | None = None,
) -> Answer:
    """Send a request of a client, and read the answer to its end."""
    async with sent(port, request, headers=headers, raw=raw) as answer:
        await answer.body()
    return answer


async def fetch(
    port: int,
    target: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """Send any request, and read the answer to its end within ten seconds."""
    with anyio.fail_after(10):
        async with view(port, target, method=method, headers=headers, body=body) as answer:
            await answer.body()
    return answer


def get(target: str) -> Request:
    """Return a bare GET."""
    return Request(target, {})


def chat_stream(chat: str) -> Request:
    """Return the request that `resumeStream` of `useChat` sends."""
    return get(f"/api/chat/{quote(chat, safe='')}/stream")


def refusal_of(answer: Answer, shape: Shape) -> tuple[int, str | None]:
    """Return the status and the code of a refusal, and check that it has the shape of its dialect.

    A sentence has no code.
    """
    kind = answer.headers["content-type"]
    assert answer.headers["cache-control"] == "no-store"
    body = bytes(answer.raw)
    if shape == "sentence":
        assert kind == "text/plain; charset=utf-8"
        assert body[:1].isupper()
        return answer.status, None
    if shape == "openai":
        assert kind == "application/json"
        error = json.loads(body)["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return answer.status, error["code"]
    assert kind == "application/problem+json"
    problem = json.loads(body)
    assert problem["status"] == answer.status
    assert problem["detail"][:1].isupper()
    return answer.status, problem["code"]
