"""Messages in every dialect: which text and which turns reach the model."""

import json
from typing import Any

import pytest

from conftest import Serve
from streamsvc.config.settings import Settings, StreamSettings
from support.asking import fetch
from support.conversations import (
    CHAT,
    ECHO,
    ENDPOINTS,
    NATIVE,
    UI,
    conversation,
    post,
    said,
    sentence,
)
from support.service import Service
from support.shared import fresh_upstream, shared_service
from support.upstreams import GEMINI, OPENAI, Upstream, Wire, finish, text

service = shared_service(ECHO)
api = fresh_upstream()


# ---- Lone surrogates


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    ("escaped", "means"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\uDE00", "\ufffd"),
        (r"a\ud83d b", "a\ufffd b"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\ud83d\n\ude00", "\ufffd\n\ufffd"),
        (r"\\ud83d\\", r"\ud83d" + "\\"),
        (r"\\\ud83d", "\\\ufffd"),
        (r"\ud83d\ude00", "😀"),
    ],
)
async def test_lone_surrogate_becomes_the_replacement_character(
    service: Service, path: str, escaped: str, means: str
) -> None:
    """It is legal JSON, and front ends that cut a text within an emoji send it."""
    body = json.dumps(conversation(path, ("user", "§"))).replace("\\u00a7", escaped).encode()
    answer = await post(service, path, body, {"Accept": "text/event-stream"})
    assert answer.status == 200
    assert said(answer) == means


async def test_lone_surrogate_in_an_address_is_accepted(service: Service) -> None:
    """UTF-8 has no form for it, so that each of its three bytes is replaced."""
    answer = await fetch(service.port, "/stream-ai?prompt=%ED%A0%BDa")
    assert (answer.status, said(answer)) == (200, "\ufffd\ufffd\ufffda")


# ---- Seeds


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize("path", [NATIVE, CHAT])
@pytest.mark.parametrize("seed", [0, 7, -1, 2**31, 2**53 - 1, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("kind", [OPENAI, GEMINI])
async def test_seed_is_sent_in_the_range_of_the_provider(
    api: Upstream, serve: Serve, path: str, seed: int, kind: Wire
) -> None:
    """OpenAI gets all 64 bits, Gemini the lowest 32."""
    service = await serve(Settings(providers={"fake": kind.entry(api.url)}))
    api.script((text("One"), finish()))
    body = json.dumps(conversation(path, ("user", "hi")) | {"seed": seed}).encode()
    answer = await post(service, path, body, {"Accept": "text/event-stream"})
    assert answer.status == 200
    (call,) = api.calls
    if kind is OPENAI:
        assert call.body["seed"] == seed
    else:
        sent = call.body["generationConfig"]["seed"]
        assert -(2**31) <= sent < 2**31
        assert (sent - seed) % 2**32 == 0


# ---- Empty turns

EMPTY: tuple[object, ...] = ("", " ", " \n\t\u2003", None, [])


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("nothing", EMPTY)
async def test_empty_turn_is_left_out(
    api: Upstream, serve: Serve, path: str, nothing: object
) -> None:
    """In every role and position; otherwise one empty turn would block a conversation for good."""
    service = await serve(
        Settings(providers={"fake": OPENAI.entry(api.url)}, stream=StreamSettings(head_seconds=0))
    )
    api.script((text("One"), finish()))
    turns = (
        *(("system", nothing), ("user", "hi"), ("assistant", nothing), ("user", nothing)),
        *(("system", "Be brief."), ("assistant", "ho"), ("user", "go"), ("assistant", nothing)),
    )
    body = json.dumps(conversation(path, *turns)).encode()
    answer = await post(service, path, body, {"Accept": "text/event-stream"})
    assert answer.status == 200
    (call,) = api.calls
    assert [(turn["role"], turn["content"]) for turn in call.body["messages"]] == [
        ("system", "Be brief."),
        ("user", "hi"),
        ("assistant", "ho"),
        ("user", "go"),
    ]


@pytest.mark.parametrize(
    ("path", "turn"),
    [
        (NATIVE, {"role": "assistant"}),
        (CHAT, {"role": "assistant"}),
        (CHAT, {"role": "assistant", "content": [{"type": "text", "text": ""}]}),
        (CHAT, {"role": "assistant", "content": [{"type": "text", "text": None}, {"type": "text", "text": " "}]}),
        (CHAT, {"role": "developer", "content": ""}),
        (UI, {"role": "assistant", "parts": [{"type": "text", "text": ""}, {"type": "step-start"}]}),
        (UI, {"role": "assistant", "parts": [{"type": "text", "text": None}]}),
        (UI, {"role": "user", "parts": [{"type": "reasoning", "text": "hm"}]}),
        (UI, {"role": "assistant"}),
    ],
)  # fmt: skip
async def test_turn_with_empty_parts_is_left_out(
    service: Service, path: str, turn: dict[str, Any]
) -> None:
    body = conversation(path, ("user", "hi"))
    body["messages"].append(turn)
    answer = await post(service, path, json.dumps(body).encode(), {"Accept": "text/event-stream"})
    assert (answer.status, said(answer)) == (200, "hi")


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    ("turns", "why"),
    [
        ([], "At least one user message with text is required in 'messages'."),
        (
            [("system", "Be brief.")],
            "At least one user message with text is required in 'messages'.",
        ),
        (
            [("assistant", "hi")],
            "At least one user message with text is required in 'messages'.",
        ),
        ([("user", "")], "The content is empty."),
        ([("user", " "), ("user", None)], "The content is empty."),
        ([("assistant", "hi"), ("user", [])], "The content is empty."),
    ],
)
async def test_conversation_without_user_text_is_refused(
    service: Service, path: str, turns: list[tuple[str, object]], why: str
) -> None:
    answer = await post(service, path, json.dumps(conversation(path, *turns)).encode())
    assert answer.status == (400 if path == CHAT else 422)
    assert sentence(answer).startswith(why)
