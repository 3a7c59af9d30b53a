"""JSON bodies in the three dialects that take them, and what a client gets back."""

import json
from collections.abc import Mapping
from typing import Any

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import LimitSettings, Settings
from support.asking import fetch
from support.eventstream import Answer
from support.service import Service

NATIVE, CHAT, UI = "/v1/generations", "/v1/chat/completions", "/api/chat"
ENDPOINTS = (NATIVE, CHAT, UI)
ECHO = Settings(
    providers={"fake": FakeSettings(words_per_second=0, first_word_seconds=0, reply="echo")},
    limits=LimitSettings(max_body_bytes=400_000, max_prompt_chars=1000),
)
"""A service that answers each prompt with the prompt."""


async def post(
    service: Service, path: str, body: bytes, headers: Mapping[str, str] | None = None
) -> Answer:
    """Post a body, and read the answer to its end."""
    return await fetch(service.port, path, method="POST", headers=headers, body=body)


def sentence(answer: Answer) -> str:
    """Return the sentence that a client of the dialect shows."""
    raw = bytes(answer.raw).decode()
    if not answer.headers["content-type"].startswith("application/"):
        return raw
    body = json.loads(raw)
    return str(body["error"]["message"] if "error" in body else body["detail"])


def conversation(path: str, *turns: tuple[str, object]) -> dict[str, Any]:
    """Return a body with these roles and contents in the dialect of an endpoint."""
    if path != UI:
        messages = [{"role": role, "content": content} for role, content in turns]
        return {"messages": messages, **({"model": "fake"} if path == CHAT else {})}
    parts = [{"role": role, "parts": _parts(content)} for role, content in turns]
    return {"id": "chat", "messages": parts}


def _parts(content: object) -> object:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def said(answer: Answer) -> str:
    """Return the text of an answer in any dialect."""
    raw = bytes(answer.raw)
    if not raw.startswith((b"data:", b"retry:", b":")):
        return str(json.loads(raw)["choices"][0]["message"]["content"])
    lines = [
        line.removeprefix(b"data: ") for line in raw.split(b"\n") if line.startswith(b"data: {")
    ]
    events = [json.loads(line) for line in lines]
    return "".join(event.get("text", event.get("delta", "")) for event in events)
