"""Helpers for tests of `/api/chat`: ask, resume and stop as `useChat` does."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import anyio
import msgspec

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import Settings
from support.asking import TEXT, answered, chat_stream, fetch
from support.eventstream import Answer, parse, view
from support.service import Service

PLAIN = {"Accept": "text/plain"}
HELLO = {"type": "text", "text": "Hello"}


def configuration(fake: Mapping[str, Any] | None = None, **sections: Any) -> Settings:
    """Return settings with one fake entry that answers at once and allows faults."""
    values = {
        "kind": "fake",
        "text": TEXT,
        "reasoning": "Let me think.",
        "words_per_second": 0,
        "first_word_seconds": 0,
        "allow_faults": True,
        "attempts": 2,
        "backoff_seconds": 0.01,
        **(fake or {}),
    }
    return Settings(providers={"fake": msgspec.convert(values, FakeSettings)}, **sections)


def asked(*parts: Mapping[str, Any], chat: str = "chat-1", **fields: Any) -> bytes:
    """Return a body as `useChat` sends it, with one user message."""
    message = {"id": "m1", "role": "user", "parts": list(parts) or [HELLO]}
    body = {"id": chat, "messages": [message], "trigger": "submit-message", **fields}
    return msgspec.json.encode(body)


@asynccontextmanager
async def posted(
    service: Service, body: bytes, headers: Mapping[str, str] | None = None, query: str = ""
) -> AsyncIterator[Answer]:
    """Post a body, and yield the answer as soon as its head arrives."""
    with anyio.fail_after(10):
        async with view(
            service.port, f"/api/chat{query}", method="POST", headers=headers, body=body
        ) as answer:
            yield answer


async def post(
    service: Service, body: bytes, headers: Mapping[str, str] | None = None, query: str = ""
) -> Answer:
    """Post a body, and read the answer to its end."""
    target = f"/api/chat{query}"
    return await fetch(service.port, target, method="POST", headers=headers, body=body)


async def resume(service: Service, chat: str = "chat-1") -> Answer:
    """Ask for the latest answer of a chat, as `resumeStream` does."""
    return await answered(service.port, chat_stream(chat))


async def stop(service: Service, chat: str = "chat-1") -> int:
    """Stop a chat; return the status."""
    answer = await service.client.post(f"/api/chat/{quote(chat, safe='')}/stop")
    return answer.status_code


def types(answer: Answer) -> list[str]:
    """Return the types of the chunks of an answer."""
    events = [event for event in parse(bytes(answer.raw)) if event.data != "[DONE]"]
    return [event.json["type"] for event in events]
