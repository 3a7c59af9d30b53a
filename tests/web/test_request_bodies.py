"""JSON bodies in every dialect: what is taken, and what a refusal says."""

import gzip
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
import pytest

from conftest import Serve
from streamsvc.config.settings import FakeSettings, LimitSettings, Settings, StreamSettings
from support.eventstream import Answer, view
from support.service import Service, serving
from support.upstreams import GEMINI, OPENAI, Upstream, Wire, finish, text, upstream

NATIVE, CHAT, UI = "/v1/generations", "/v1/chat/completions", "/api/chat"
ENDPOINTS = (NATIVE, CHAT, UI)
ECHO = FakeSettings(words_per_second=0, first_word_seconds=0, reply="echo")
LIMITS = LimitSettings(max_body_bytes=400_000, max_prompt_chars=1000)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Service]:
    async with serving(Settings(providers={"fake": ECHO}, limits=LIMITS), {}) as service:
        yield service


@pytest.fixture
async def api() -> AsyncIterator[Upstream]:
    async with upstream() as server:
        yield server


async def post(
    service: Service, path: str, body: bytes, headers: Mapping[str, str] | None = None
) -> Answer:
    with anyio.fail_after(10):
        async with view(service.port, path, method="POST", headers=headers, body=body) as answer:
            await answer.body()
    return answer


def sentence(answer: Answer) -> str:
    """Return what a client of the dialect shows."""
    raw = bytes(answer.raw).decode()
    if not answer.headers["content-type"].startswith("application/"):
        return raw
    body = json.loads(raw)
    return str(body["error"]["message"] if "error" in body else body["detail"])


def conversation(path: str, *turns: tuple[str, object]) -> dict[str, Any]:
    """Return a body with these roles and contents, as the dialect of an endpoint has it."""
    if path != UI:
        messages = [{"role": role, "content": content} for role, content in turns]
        return {"messages": messages, **({"model": "fake"} if path == CHAT else {})}
    parts = [{"role": role, "parts": _parts(content)} for role, content in turns]
    return {"id": "chat", "messages": parts}


def _parts(content: object) -> object:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


# ---- What cannot be read


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"x":' + b"[" * 100_000,
        b'{"x":' * 50_000,
        b'{"messages":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"messages":[{"role":"user","parts":[{"type":"text","x":' + b'{"a":' * 50_000,
        b'{"model":"fake","messages":[{"role":"user","content":' + b"[" * 100_000,
        b'{"metadata":{"a":' + b"[" * 100_000,
    ],
)
async def test_deep_nesting_is_refused_and_crashes_nothing(
    service: Service, path: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await post(service, path, body)
    assert answer.status in {400, 422}
    assert sentence(answer)[0].isupper()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.promise("input:clear-error")
async def test_deep_nesting_is_named_as_the_cause(service: Service) -> None:
    answer = await post(service, CHAT, b'{"x":' + b"[" * 100_000)
    assert (answer.status, sentence(answer)) == (400, "The body is nested too deeply.")


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "The body is empty, and has to be JSON."),
        (b"{", "The body is not JSON: it ends too early, at line 1, column 2."),
        (b'{\n  "system": "a",\n}', "trailing comma in object at line 3, column 1."),
        ('{"system": "é",\n "system": é}'.encode(), "invalid character at line 2, column 12."),
        (b"{'system': 'a'}", "strings and names take double quotes at line 1, column 2."),
        (b'{"system": NaN}', "invalid character at line 1, column 12."),
        (b'{"system": "a\nb"}', "invalid character at line 1, column 14."),
        (b'{"system":\n "a\xff"}', "The body is not UTF-8 at line 2, column 4."),
        (b'{"system": "\xed\xa0\xbd"}', "The body is not UTF-8 at line 1, column 13."),
        ('{"id": "a"}'.encode("utf-16"), "The body is not UTF-8 at line 1, column 1."),
    ],
)
async def test_broken_json_is_refused_with_line_and_column(
    service: Service, path: str, body: bytes, why: str
) -> None:
    answer = await post(service, path, body)
    assert answer.status == 400
    assert sentence(answer).endswith(why)


@pytest.mark.promise("input:clear-error")
async def test_what_follows_a_json_body_is_refused_with_its_place(service: Service) -> None:
    answer = await post(service, CHAT, b'{"model":\n "fake"} {}')
    assert sentence(answer).endswith("trailing characters at line 2, column 10.")


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("content_type", "named"),
    [
        ("application/x-www-form-urlencoded", "; it came as application/x-www-form-urlencoded."),
        ("multipart/form-data; boundary=x", "; it came as multipart/form-data."),
        ("text/plain;charset=UTF-8", "; it came as text/plain."),
        ("application/json", " column 1."),
        ("application/problem+json; charset=utf-8", " column 1."),
        ("<b>nonsense</b>", " column 1."),
        ("", " column 1."),
    ],
)
async def test_a_body_that_is_not_json_is_named_by_its_content_type(
    service: Service, content_type: str, named: str
) -> None:
    answer = await post(service, NATIVE, b"prompt=hi", {"Content-Type": content_type})
    assert answer.status == 400
    assert sentence(answer).endswith(named)


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    "encoding", ["gzip", "GZIP", "x-gzip", "br", "deflate", "zstd", "gzip, br"]
)
async def test_a_compressed_body_is_415(service: Service, path: str, encoding: str) -> None:
    """Also where the header says so and the body is not."""
    for body in (gzip.compress(b'{"prompt": "hi"}'), b'{"prompt": "hi"}'):
        answer = await post(service, path, body, {"Content-Encoding": encoding})
        assert (answer.status, answer.headers["accept-encoding"]) == (415, "identity")
        assert "Content-Encoding" in sentence(answer)


async def test_a_gzip_body_without_its_header_is_415_too(service: Service) -> None:
    assert (await post(service, NATIVE, gzip.compress(b'{"prompt": "hi"}'))).status == 415


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_an_identity_encoding_is_none(service: Service, encoding: str) -> None:
    headers = {"Content-Encoding": encoding}
    assert (await post(service, NATIVE, b'{"prompt": "hi"}', headers)).status == 201


@pytest.mark.promise("input:clear-error")
async def test_what_is_too_large_names_the_setting(service: Service) -> None:
    for body, setting in (
        (b" " * 400_001, "limits.max_body_bytes"),
        (json.dumps({"prompt": "x" * 1001}).encode(), "limits.max_prompt_chars"),
    ):
        answer = await post(service, NATIVE, body)
        assert answer.status == 413
        assert f"({setting})." in sentence(answer)


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("path", "field", "value", "hint"),
    [
        (NATIVE, "model", "fake", "here it is 'provider'"),
        (NATIVE, "stream", True, "Accept: text/event-stream"),
        (NATIVE, "max_completion_tokens", 5, "'max_tokens'"),
        (NATIVE, "promt", "hi", "did you mean 'prompt'?"),
        (NATIVE, "temprature", 1, "did you mean 'temperature'?"),
        (NATIVE, "tools", [], "Unknown field 'tools'."),
        (CHAT, "max_token", 5, "did you mean 'max_tokens'?"),
        (CHAT, "tools", [{}], "Unsupported parameter: 'tools'."),
        (CHAT, "top_p", 0.5, "Unsupported parameter: 'top_p'; accepted: 1."),
        (CHAT, "n", 2, "Unsupported parameter: 'n'; accepted: 1."),
        (CHAT, "reasoning_effort", "low", "Unsupported parameter: 'reasoning_effort'."),
        (CHAT, "response_format", {"type": "json_object"}, "Unsupported parameter: 'response_format'"),
        (UI, "model", "fake", "here it is 'provider'"),
        (UI, "x" * 5000, 1, "x…'."),
    ],
)  # fmt: skip
async def test_a_field_that_is_not_known_is_named_with_what_may_be_meant(
    service: Service, path: str, field: str, value: object, hint: str
) -> None:
    body = conversation(path, ("user", "hi")) | {field: value}
    answer = await post(service, path, json.dumps(body).encode())
    assert answer.status in {400, 422}
    assert hint in sentence(answer)
    assert len(sentence(answer)) < 200


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", b"1e999"), ("x", b"[1, -1e999]"), ("metadata", b'{"a": 1e999}')],
)
async def test_a_number_out_of_range_names_its_field(
    service: Service, name: str, value: bytes
) -> None:
    answer = await post(service, CHAT, b'{"model": "fake", "%b": %b}' % (name.encode(), value))
    assert answer.status == 400
    assert f"'{name}" in sentence(answer)
    assert sentence(answer).endswith(": number out of range.")


@pytest.mark.parametrize("rest", [b"[" * 100_000, b'"\\ud83d"', b"}", b'"\xff"', b"'"])
async def test_a_number_out_of_range_before_broken_json_crashes_nothing(
    service: Service, rest: bytes
) -> None:
    answer = await post(service, CHAT, b'{"temperature": 1e999, "x": ' + rest)
    assert answer.status == 400
    assert sentence(answer)[0].isupper()


# ---- Half of a character


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
async def test_a_lone_surrogate_is_taken_as_the_replacement_character(
    service: Service, path: str, escaped: str, means: str
) -> None:
    """It is legal JSON: front ends cut texts in the middle of an emoji."""
    body = json.dumps(conversation(path, ("user", "§"))).replace("\\u00a7", escaped).encode()
    answer = await post(service, path, body, {"Accept": "text/event-stream"})
    assert answer.status == 200
    assert said(answer) == means


async def test_a_lone_surrogate_in_an_address_is_taken_likewise(service: Service) -> None:
    async with view(service.port, "/stream-ai?prompt=%ED%A0%BDa") as answer:
        assert "a" in said_in(await answer.body())
    assert answer.status == 200


def said(answer: Answer) -> str:
    return said_in(bytes(answer.raw))


def said_in(raw: bytes) -> str:
    """Return the text of an answer in whichever dialect."""
    if not raw.startswith((b"data:", b"retry:", b":")):
        return str(json.loads(raw)["choices"][0]["message"]["content"])
    lines = [
        line.removeprefix(b"data: ") for line in raw.split(b"\n") if line.startswith(b"data: {")
    ]
    events = [json.loads(line) for line in lines]
    return "".join(event.get("text", event.get("delta", "")) for event in events)


# ---- Seeds


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize("path", [NATIVE, CHAT])
@pytest.mark.parametrize("seed", [0, 7, -1, 2**31, 2**53 - 1, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("kind", [OPENAI, GEMINI])
async def test_a_seed_of_64_bits_is_sent_as_the_provider_takes_it(
    api: Upstream, serve: Serve, path: str, seed: int, kind: Wire
) -> None:
    """OpenAI takes all of it, Gemini the lowest 32 bits."""
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


# ---- Turns without words

EMPTY: tuple[object, ...] = ("", " ", " \n\t\u2003", None, [])


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("nothing", EMPTY)
async def test_a_turn_without_words_is_left_out(
    api: Upstream, serve: Serve, path: str, nothing: object
) -> None:
    """Of every role and in every place, or one such turn would end a conversation for ever."""
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
async def test_a_turn_whose_parts_say_nothing_is_left_out(
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
        ([("assistant", "hi")], "At least one user message with text is required in 'messages'."),
        ([("user", "")], "The content is empty."),
        ([("user", " "), ("user", None)], "The content is empty."),
        ([("assistant", "hi"), ("user", [])], "The content is empty."),
    ],
)
async def test_a_conversation_without_words_of_a_user_is_refused(
    service: Service, path: str, turns: list[tuple[str, object]], why: str
) -> None:
    answer = await post(service, path, json.dumps(conversation(path, *turns)).encode())
    assert answer.status == (400 if path == CHAT else 422)
    assert sentence(answer).startswith(why)
