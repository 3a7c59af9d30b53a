"""What a good status may come with instead of an event stream, and how loosely a chunk may be written.

Both APIs are held to the same rules: `streamsvc.providers.response` and `streamsvc.providers.lenient`.
"""

import json
from typing import Any

import anyio
import pytest
from provider import (
    UPSTREAMS,
    UpstreamSubject,
    ask,
    end_of,
    finishes,
    load_no_certificates,
    texts,
    thoughts,
)

from streamsvc.errors import (
    ContextLengthExceeded,
    ProviderError,
    ProviderMisconfigured,
    ProviderUnavailable,
    UpstreamCut,
    UpstreamInvalid,
)
from support.upstreams import (
    CLOSE,
    DONE,
    GEMINI,
    OPENAI,
    USAGE,
    Exchange,
    Framing,
    Wire,
    body,
    finish,
    frame,
    raw,
    text,
)

every_upstream = pytest.mark.parametrize("subject", UPSTREAMS, ids=lambda subject: subject.name)

STREAM = "text/event-stream"
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"


@pytest.fixture(autouse=True)
def no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    load_no_certificates(monkeypatch)


def streamed(subject: UpstreamSubject) -> bytes:
    return (
        subject.wire.token("One ") + subject.wire.token("two") + subject.wire.finish("stop", USAGE)
    )


# An event stream by another name


@every_upstream
@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "text/event-stream;charset=UTF-8", "Text/Event-Stream", "application/json",
     "application/octet-stream", "text/html; charset=utf-8", "binary/nonsense;;"],
)  # fmt: skip
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_an_event_stream_is_one_whatever_its_type(
    subject: UpstreamSubject, content_type: str | None, framing: Framing
) -> None:
    deltas, error = await end_of(subject, body(streamed(subject), content_type, framing=framing))
    assert error is None
    assert texts(deltas) == ["One ", "two"]
    assert [end.usage for end in finishes(deltas)] == [USAGE]


@every_upstream
@pytest.mark.parametrize(
    "before",
    [b"\n\n", b": hello\n\n", b"\xef\xbb\xbf", b"event: message\n", b"id: 1\n", b"retry: 5\n\n", b" \r\n"],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("content_type", [STREAM, None, "text/plain"])
async def test_an_event_stream_may_begin_with_any_of_its_lines(
    subject: UpstreamSubject, before: bytes, content_type: str | None
) -> None:
    data = before + streamed(subject)
    deltas, error = await end_of(subject, body(data, content_type))
    assert (texts(deltas), error) == (["One ", "two"], None)


@every_upstream
async def test_what_a_body_is_may_show_byte_by_byte(subject: UpstreamSubject) -> None:
    async def dribble(to: Exchange) -> None:
        await to.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        to.has_head = True
        await to.send(streamed(subject), piece_bytes=1)

    deltas, error = await end_of(subject, dribble)
    assert (texts(deltas), error) == (["One ", "two"], None)


# One JSON


@every_upstream
@pytest.mark.parametrize("content_type", ["application/json", STREAM, None, "text/plain"])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_one_json_in_the_place_of_a_stream_is_the_answer(
    subject: UpstreamSubject, content_type: str | None, framing: Framing
) -> None:
    data = json.dumps(subject.wire.whole("One two"), indent=1).encode()
    async with subject.open(body(data, content_type, framing=framing)) as (api, provider):
        deltas, error = await ask(provider)
        assert len(api.calls) == 1
    assert (texts(deltas), error) == (["One two"], None)
    [end] = finishes(deltas)
    assert (end.reason, end.usage) == ("stop", USAGE)
    assert (end.model or "").endswith("-test-1")


@every_upstream
@pytest.mark.parametrize("join", ["array", "lines"])
async def test_a_list_of_chunks_and_one_a_line_are_the_answer(
    subject: UpstreamSubject, join: str
) -> None:
    """Gemini sends an array without `alt=sse`; others send JSON lines."""
    wire = subject.wire
    frames = wire.token("One ") + wire.token("two") + wire.stamped("!", usage=USAGE)
    chunks = [json.loads(line[6:]) for line in frames.splitlines() if line]
    data = json.dumps(chunks) if join == "array" else "\n".join(map(json.dumps, chunks))
    deltas, error = await end_of(subject, body(data.encode(), "application/json"))
    assert (texts(deltas), error) == (["One ", "two", "!"], None)
    assert [(end.reason, end.usage) for end in finishes(deltas)] == [("stop", USAGE)]


@every_upstream
async def test_one_json_without_a_reason_is_whole(subject: UpstreamSubject) -> None:
    answer = {
        "choices": [{"message": {"content": "One"}}],
        "candidates": [{"content": {"parts": [{"text": "One"}]}}],
    }
    deltas, error = await end_of(subject, body(json.dumps(answer).encode(), "application/json"))
    assert (texts(deltas), error) == (["One"], None)
    assert [(end.reason, end.provider_reason) for end in finishes(deltas)] == [("stop", None)]


@every_upstream
@pytest.mark.promise("end:exactly-one")
async def test_half_of_one_json_is_no_answer(subject: UpstreamSubject) -> None:
    half = json.dumps(subject.wire.whole("One two")).encode()[:-20]
    for script, expected in (
        ((body(half, "application/json"),), UpstreamInvalid),
        ((body(half, "application/json", framing="close"),), UpstreamInvalid),
        ((raw(half), CLOSE), UpstreamCut),
    ):
        deltas, error = await end_of(subject, *script)
        assert (deltas, type(error)) == ([], expected)


@every_upstream
@pytest.mark.promise("upstream:bounded")
async def test_the_size_of_one_json_is_bounded(subject: UpstreamSubject) -> None:
    async def endless(to: Exchange) -> None:
        await to.send(b'{"a":"')
        while True:
            await to.send(b"x" * 65_536)

    async with subject.open(endless) as (api, provider):
        assert type((await ask(provider))[1]) is UpstreamInvalid
        with anyio.fail_after(5):
            await api.calls[0].closed.wait()


@every_upstream
async def test_blanks_before_an_answer_keep_it_alive(subject: UpstreamSubject) -> None:
    """DeepSeek sends empty lines while a request waits for its turn."""
    answer = b"\n" * 100_000 + json.dumps(subject.wire.whole("One")).encode()
    deltas, error = await end_of(subject, body(answer, "application/json"))
    assert (texts(deltas), error) == (["One"], None)


@every_upstream
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": 503, "message": "no"}, ProviderUnavailable),
        ({"code": "context_length_exceeded", "message": "no"}, ContextLengthExceeded),
    ],
    ids=repr,
)
@pytest.mark.parametrize("content_type", ["application/json", STREAM, None])
async def test_an_error_under_200_is_that_error(
    subject: UpstreamSubject, error: object, expected: type[ProviderError], content_type: str | None
) -> None:
    data = json.dumps({"error": error}).encode()
    deltas, seen = await end_of(subject, body(data, content_type))
    assert (deltas, type(seen)) == ([], expected)


@every_upstream
async def test_an_error_that_interrupts_a_stream_as_bare_json_is_that_error(
    subject: UpstreamSubject,
) -> None:
    bare = json.dumps({"error": {"code": 503, "message": "no"}}, indent=2).encode()
    deltas, error = await end_of(subject, text("One"), raw(bare + b"\n"))
    assert (texts(deltas), type(error)) == (["One"], ProviderUnavailable)


# Something else


@every_upstream
@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (PAGE, "text/html"),
        (PAGE, STREAM),
        (PAGE, None),
        (b"\n  <html></html>", "text/html; charset=utf-8"),
        (b"<?xml version='1.0'?><Error/>", "application/xml"),
        (b"", "text/html"),
        (b"Welcome to nginx!", "text/plain"),
        (b"OK", None),
        (b"dat", "text/plain"),
        (b'{"status": "ok"}', "application/json"),
        (b"{}", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b'"hello"', "application/json"),
        (b"\x89PNG\r\n\x1a\n\0\0", "image/png"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_what_is_not_an_answer_is_one_clear_failure(
    subject: UpstreamSubject, data: bytes, content_type: str | None
) -> None:
    async with subject.open(body(data, content_type)) as (api, provider):
        deltas, error = await ask(provider)
        assert (deltas, type(error)) == ([], ProviderMisconfigured)
        assert len(api.calls) == 1
    assert isinstance(error, ProviderMisconfigured)
    assert (error.setting, error.retry_same_provider) == ("base_url", False)


@every_upstream
@pytest.mark.promise("upstream:bounded")
async def test_a_page_is_given_up_at_its_first_byte(subject: UpstreamSubject) -> None:
    async def endless(to: Exchange) -> None:
        await to.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE)
        await anyio.sleep_forever()

    async with subject.open(endless) as (api, provider):
        assert type((await ask(provider))[1]) is ProviderMisconfigured
        with anyio.fail_after(5):
            await api.calls[0].closed.wait()


@every_upstream
async def test_a_body_that_was_compressed_although_declined_is_refused(
    subject: UpstreamSubject,
) -> None:
    async def gzipped(to: Exchange) -> None:
        to.is_over = True
        fields = (
            b"Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n"
        )
        await to.write(b"HTTP/1.1 200 OK\r\n%b\r\n\x1f\x8b" % fields)

    assert type((await end_of(subject, gzipped))[1]) is UpstreamInvalid


# Chunks

ODD: tuple[object, ...] = (
    None, 7, 0, True, [], {}, "", "ping", [None], [[]], {"id": "x"},
    {"choices": None, "candidates": None},
    {"choices": {}, "candidates": {}},
    {"choices": 7, "candidates": 7},
    {"choices": [None, 7, []], "candidates": [None, 7, []]},
    {"choices": [{}], "candidates": [{}]},
    {"choices": [{"delta": []}], "candidates": [{"content": []}]},
    {"choices": [{"delta": None}], "candidates": [{"content": None}]},
    {"choices": [{"delta": 7}], "candidates": [{"content": False}]},
    {"choices": [{"delta": {"content": []}}], "candidates": [{"content": {"parts": {}}}]},
    {"choices": [{"delta": {"content": {}}}], "candidates": [{"content": {"parts": [None]}}]},
    {"choices": [{"delta": {"role": 7}, "logprobs": "x"}], "candidates": [{"safetyRatings": 7}]},
    {"choices": [{"delta": {"tool_calls": "x", "reasoning": {"effort": "low"}}}]},
    {"choices": [{"delta": {"content": [{"type": "reference", "reference_ids": [1]}]}}]},
    {"choices": [{"finish_reason": False}], "candidates": [{"finishReason": 0}]},
    {"candidates": [{"content": {"parts": [{"functionCall": 7}, {"thoughtSignature": 8}]}}]},
    {"usage": "none", "usageMetadata": "none"},
    {"usage": [], "usageMetadata": []},
    {"usage": {"prompt_tokens": {}}, "usageMetadata": {"promptTokenCount": {}}},
    {"model": 7, "modelVersion": 7, "created": "yesterday", "promptFeedback": 7},
    {"error": None}, {"error": ""}, {"error": {}}, {"error": []}, {"error": False},
)  # fmt: skip
"""What holds no words."""


@every_upstream
@pytest.mark.parametrize("odd", ODD, ids=lambda value: json.dumps(value)[:60])
async def test_what_is_not_needed_need_not_be_readable(
    subject: UpstreamSubject, odd: object
) -> None:
    script = raw(frame(odd)), text("One "), raw(frame(odd)), text("two"), finish()
    deltas, error = await end_of(subject, *script)
    assert (texts(deltas), error) == (["One ", "two"], None)
    assert [(end.reason, end.usage) for end in finishes(deltas)] == [("stop", USAGE)]


@every_upstream
@pytest.mark.parametrize("payload", [b"", b" ", b'"[DONE]"', b" [DONE] "], ids=repr)
async def test_a_payload_may_be_blank_and_the_last_one_be_padded(
    subject: UpstreamSubject, payload: bytes
) -> None:
    wire = subject.wire
    script = raw(b"data:\n\n" + wire.token("One") + wire.reason() + b"data: %b\n\n" % payload)
    deltas, error = await end_of(subject, script)
    assert (texts(deltas), error) == (["One"], None)


def _openai(**choice: Any) -> bytes:
    return frame({"choices": [choice]})


def _gemini(content: object, **fields: Any) -> bytes:
    return frame({"candidates": [{"content": content, **fields}]})


def _says(content: object) -> bytes:
    return _openai(delta={"content": content})


WORDS: tuple[tuple[str, Wire, bytes, str, str], ...] = (
    ("text parts", OPENAI, _says([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "", "ab"),
    ("bare parts", OPENAI, _says(["a", "b"]), "", "ab"),
    ("one part", OPENAI, _says({"type": "text", "text": "a"}), "", "a"),
    ("a part with a value", OPENAI, _says({"type": "text", "text": {"value": "a"}}), "", "a"),
    ("output text", OPENAI, _says([{"type": "output_text", "text": "a"}]), "", "a"),
    ("a refusing part", OPENAI, _says([{"type": "refusal", "refusal": "no"}]), "", "no"),
    (
        "Mistral's thinking", OPENAI,
        _says([{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}, {"type": "text", "text": "a"}]),
        "h", "a",
    ),
    ("thinking as text", OPENAI, _says([{"type": "thinking", "thinking": "h"}]), "h", ""),
    ("reasoning part", OPENAI, _says([{"type": "reasoning", "text": "h"}]), "h", ""),
    ("a number", OPENAI, _says(42), "", "42"),
    ("an index as text", OPENAI, _openai(index="0", delta={"content": "a"}), "", "a"),
    ("an odd index", OPENAI, _openai(index=[], delta={"content": "a"}), "", "a"),
    ("another choice", OPENAI, _openai(index="1", delta={"content": "a"}), "", ""),
    ("one choice, not a list", OPENAI, frame({"choices": {"delta": {"content": "a"}}}), "", "a"),
    ("a list of chunks", OPENAI, frame([{"choices": [{"delta": {"content": "a"}}]}]), "", "a"),
    ("a message", OPENAI, _openai(message={"content": "a"}), "", "a"),
    ("a message beside null", OPENAI, _openai(delta=None, message={"content": "a"}), "", "a"),
    ("a message beside nothing", OPENAI, _openai(delta={}, message={"content": "a"}), "", "a"),
    ("a message of parts", OPENAI, _openai(message={"content": [{"type": "text", "text": "a"}]}), "", "a"),
    ("a delta that is text", OPENAI, _openai(delta="a"), "", "a"),
    ("text as of old", OPENAI, _openai(text="a"), "", "a"),
    ("a refusal", OPENAI, _openai(delta={"refusal": "no"}), "", "no"),
    ("a refusal and null", OPENAI, _openai(delta={"content": None, "refusal": "no"}), "", "no"),
    ("reasoning of parts", OPENAI, _openai(delta={"reasoning": [{"text": "h"}]}), "h", ""),
    ("odd beside words", OPENAI, frame({"model": [], "choices": [{"delta": {"content": "a", "role": {}}}]}), "", "a"),
    ("one part", GEMINI, _gemini({"parts": {"text": "a"}}), "", "a"),
    ("bare parts", GEMINI, _gemini({"parts": ["a", "b"]}), "", "ab"),
    ("content that is text", GEMINI, _gemini("a"), "", "a"),
    ("content that is parts", GEMINI, _gemini([{"text": "a"}]), "", "a"),
    ("odd parts between", GEMINI, _gemini({"parts": [None, False, {"text": "a"}, {"inlineData": 7}]}), "", "a"),
    ("a thought as text", GEMINI, _gemini({"parts": [{"text": "h", "thought": "true"}]}), "h", ""),
    ("an index as text", GEMINI, _gemini({"parts": [{"text": "a"}]}, index="0"), "", "a"),
    ("another candidate", GEMINI, _gemini({"parts": [{"text": "a"}]}, index="1"), "", ""),
    ("one candidate, not a list", GEMINI, frame({"candidates": {"content": {"parts": [{"text": "a"}]}}}), "", "a"),
    ("a list of chunks", GEMINI, frame([{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}]), "", "a"),
    ("an odd part of the count", GEMINI, _gemini({"parts": [{"text": "a"}]}, tokenCount="x"), "", "a"),

)  # fmt: skip
"""A name, the API, a chunk, and the thinking and the text in it."""


@pytest.mark.parametrize(
    ("wire", "data", "thought", "said"),
    [
        pytest.param(*row, id=f"{'openai' if row[0] is OPENAI else 'gemini'}-{name}")
        for name, *row in WORDS
    ],
)
async def test_words_are_read_in_whatever_shape_they_come(
    wire: Wire, data: bytes, thought: str, said: str
) -> None:
    subject = UPSTREAMS[wire is GEMINI]
    deltas, error = await end_of(subject, raw(data), finish())
    assert ("".join(thoughts(deltas)), "".join(texts(deltas)), error) == (thought, said, None)


@every_upstream
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    "odd",
    [{"words": "One"}, [[[[["One"]]]]], {"text": {"text": {"text": {"text": {"text": "One"}}}}}],
)
async def test_words_in_a_shape_nobody_knows_are_not_lost_in_silence(
    subject: UpstreamSubject, odd: object
) -> None:
    chunk = {
        "choices": [{"delta": {"content": odd}}],
        "candidates": [{"content": {"parts": [{"text": odd}]}}],
    }
    deltas, error = await end_of(subject, raw(frame(chunk)), finish())
    assert (deltas, type(error)) == ([], UpstreamInvalid)


async def test_a_message_that_sums_the_deltas_up_is_not_said_again() -> None:
    """MiniMax ends a stream with one, Perplexity has one in each chunk."""
    beside = _openai(delta={"content": "b"}, message={"content": "ab"})
    end = _openai(message={"content": "ab"}, finish_reason="stop")
    deltas, error = await end_of(UPSTREAMS[0], text("a"), raw(beside + end + DONE))
    assert (texts(deltas), error) == (["a", "b"], None)


async def test_messages_in_the_place_of_deltas_are_all_said() -> None:
    data = b"".join(_openai(message={"content": word}) for word in "abc")
    deltas, error = await end_of(UPSTREAMS[0], raw(data), finish())
    assert (texts(deltas), error) == (["a", "b", "c"], None)


@every_upstream
@pytest.mark.parametrize("value", [1, 2.5, True, ["stop"], {"type": "stop"}], ids=repr)
async def test_an_odd_finish_reason_is_a_reason(subject: UpstreamSubject, value: object) -> None:
    end = {"choices": [{"finish_reason": value}], "candidates": [{"finishReason": value}]}
    deltas, error = await end_of(subject, text("One"), raw(frame(end)))
    assert error is None
    assert [end.reason for end in finishes(deltas)] == ["other"]


@every_upstream
async def test_numbers_of_tokens_may_be_texts(subject: UpstreamSubject) -> None:
    counted = {
        "usage": {"prompt_tokens": "3", "completion_tokens": 5.0},
        "usageMetadata": {"promptTokenCount": "3", "candidatesTokenCount": 5.0},
    }
    deltas, _ = await end_of(subject, text("One"), raw(frame(counted)), raw(subject.wire.reason()))
    [end] = finishes(deltas)
    assert end.usage is not None
    assert (end.usage.input_tokens, end.usage.output_tokens) == (3, 5)


@every_upstream
async def test_half_an_emoji_in_what_is_not_text_reaches_nobody(subject: UpstreamSubject) -> None:
    odd = b'{"model":"\\ud83d","modelVersion":"\\ud83d"}'
    deltas, error = await end_of(
        subject, text("One"), raw(b"data: %b\n\n" % odd), raw(subject.wire.reason())
    )
    assert error is None
    for end in finishes(deltas):
        (end.model or "").encode()
