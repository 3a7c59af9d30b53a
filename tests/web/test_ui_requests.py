"""Requests to `/api/chat`: what reaches the model, what is refused, and which format is sent."""

from collections.abc import Mapping

import msgspec
import pytest

from conftest import Serve
from support.eventstream import parse
from support.ui_messages import HELLO, asked, configuration, post, types


async def test_only_text_parts_go_to_the_model(
    serve: Serve,
) -> None:
    service = await serve(configuration({"reply": "echo", "reasoning": ""}))
    silent = ["reasoning", "step-start", "source-url", "source-document", "data-status"]
    parts = [{"type": kind, "text": "hidden", "data": {}} for kind in silent]
    answer = await post(service, asked(*parts, {"type": "text", "text": "One "}, *parts, {"type": "text", "text": "two."}))  # fmt: skip
    said = [event.json.get("delta", "") for event in parse(bytes(answer.raw)) if event.data != "[DONE]"]  # fmt: skip
    assert "".join(said) == "One two."


async def test_empty_answer_in_the_history_is_left_out(serve: Serve) -> None:
    service = await serve(configuration())
    history = [
        {"role": "system", "parts": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "parts": [HELLO]},
        {"role": "assistant", "parts": [{"type": "step-start"}]},
        {"role": "user", "parts": [HELLO]},
    ]
    body = msgspec.json.encode({"id": "a", "messages": history})
    assert types(await post(service, body))[-1] == "finish"


REFUSED: Mapping[str, tuple[bytes, int, str]] = {
    "data-url": (
        asked(HELLO, {"type": "file", "mediaType": "image/png", "url": "data:,"}),
        422,
        "Invalid 'messages[0].parts[1].url': give a data URL in base64, such as data:image/png;base64,….",
    ),
    "web-address": (
        asked(HELLO, {"type": "file", "mediaType": "image/png", "url": "http://a.test/b.png"}),
        422,
        "the scheme 'http' is not supported; give an https address or a data URL in base64.",
    ),
    "document-address": (
        asked({"type": "file", "mediaType": "application/pdf", "url": "https://a.test/b.pdf"}),
        422,
        "Invalid 'messages[0].parts[0].url': give a data URL in base64, such as data:image/png;base64,….",
    ),
    "unknown-part": (
        asked(HELLO, {"type": "steering-message", "id": "a", "parts": []}),
        422,
        "Parts of type 'steering-message' are not supported. (messages[0].parts[1])",
    ),
    "tool-of-the-user": (
        asked({"type": "tool-weather", "toolCallId": "1", "state": "output-available"}),
        422,
        "Parts of type 'tool-weather' are not supported. (messages[0].parts[0])",
    ),
    "tool": (
        asked(tools=[{"type": "function", "function": {"name": "a b"}}]),
        422,
        "Invalid 'tools[0].function.name': a name has 1 to 64 letters, digits, '_' or '-'.",
    ),
    "temperature": (asked(temperature=3), 422, "Invalid 'temperature': expected number <= 2.0."),
    "text-is-no-text": (
        asked({"type": "text", "text": 5}),
        422,
        "Invalid 'messages[0].parts[0].text': expected string or null, got integer.",
    ),
    "empty": (asked({"type": "text", "text": " "}), 422, "The content is empty. (messages[0].parts)"),
    "unknown-field": (asked(sesion="a"), 422, "Unknown field 'sesion'."),
    "sdk-name": (asked(topP=0.5), 422, "Unknown field 'topP'; here it is 'top_p'."),
    "grace": (asked(grace_seconds=1e6), 422, "The field 'grace_seconds' must be at most 120."),
    "provider": (asked(provider="nobody"), 422, "Unknown 'provider' 'nobody'; configured: fake."),
    "no-json": (b"{", 400, "The body is not JSON: it ends too early, at line 1, column 2."),
    "long-id": (asked(chat="a" * 256), 422, "Invalid 'id': expected string of length <= 255."),
    "trigger": (asked(trigger="x"), 422, "Invalid 'trigger': 'x' is not supported; accepted: regenerate-message, submit-message."),
    "no-id": (b'{"messages": []}', 422, "The field 'id' is missing."),
}  # fmt: skip


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", REFUSED)
async def test_refusal_is_a_sentence_in_plain_text(serve: Serve, name: str) -> None:
    """The hook shows the body of an error unchanged."""
    body, status, sentence = REFUSED[name]
    service = await serve(configuration())
    answer = await post(service, body)
    assert answer.status == status
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert bytes(answer.raw).decode().endswith(sentence)
    assert len(service.log) == 0


async def test_client_that_accepts_anything_gets_the_default(serve: Serve) -> None:
    """For example axios, which lists plain text after JSON."""
    service = await serve(configuration())
    anything = {"Accept": "application/json, text/plain, */*"}
    assert types(await post(service, asked(), anything))[-1] == "finish"
    created = await service.client.post("/v1/generations", json={"prompt": "x"}, headers=anything)
    assert created.status_code == 201


async def test_unknown_format_is_refused_by_name(serve: Serve) -> None:
    service = await serve(configuration())
    answer = await post(service, asked(), query="?format=json")
    assert answer.status == 422
    assert bytes(answer.raw).decode() == "Unknown 'format' 'json'; accepted: plain, ui."
