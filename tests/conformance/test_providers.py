"""One contract, every provider: `streamsvc.providers.base`. How each is made to speak: `provider`."""

import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import anyio.lowlevel
import pytest
from provider import (
    PROMPT,
    SUBJECTS,
    UPSTREAMS,
    Subject,
    UpstreamSubject,
    finishes,
    gather,
    load_no_certificates,
    opened,
    texts,
    thoughts,
)
from provider import ask as _ask
from provider import end_of as _end_of

from streamsvc.errors import (
    ContextLengthExceeded,
    ProviderAuthFailed,
    ProviderContentFiltered,
    ProviderError,
    ProviderMisconfigured,
    ProviderModelNotFound,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
    UpstreamCut,
    UpstreamInvalid,
)
from streamsvc.events import FinishReason, Text
from streamsvc.messages import Message, Prompt
from streamsvc.providers import base
from streamsvc.providers import response as response_module
from streamsvc.providers.base import Delta, Finish, Provider, closed_afterwards
from support.answering import answering
from support.upstreams import (
    CLOSE,
    HEAD,
    HOLD,
    RESET,
    Call,
    Exchange,
    Script,
    Step,
    finish,
    frame,
    paced,
    raw,
    reasoning,
    status,
    text,
)

every = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
every_upstream = pytest.mark.parametrize("subject", UPSTREAMS, ids=lambda subject: subject.name)


@pytest.fixture(autouse=True)
def no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    load_no_certificates(monkeypatch)


UNICODE = {
    "emoji": ("👋🏽", "👨‍👩‍👧‍👦", "🏴󠁧󠁢󠁷󠁬󠁳󠁿"),
    "combining": ("e", "\u0301", "a\u0308\u0323", "\u0915\u094d\u0937"),
    "right to left": ("שלום", "\u200f", "مرحبا"),
    "line feed": ("a\n", "\n", "\n\nb"),
    "carriage return": ("a\r", "\r", "\r\rb"),
    "both": ("a\r\n", "\r", "\n", "\r\n\r\nb"),
    "line ends of Unicode": ("a\u2028", "\u2029", "\u0085", "\v\fb"),
    "odd ones": ("\0", "\x1b", "\ufeff", "\uffff", "\U0010ffff"),
    "spaces": (" ", "  a  ", "\t", "\u00a0"),
    "looks like a frame": ("data: [DONE]\n\n", "event: done\n", ": ka\n", "id: 7\n\n"),
}
"""What has to come through as it is, cut as it is. No piece is empty."""

ERRORS = {
    301: ProviderMisconfigured,
    307: ProviderMisconfigured,
    400: ProviderRefused,
    401: ProviderAuthFailed,
    402: ProviderQuotaExhausted,
    403: ProviderAuthFailed,
    404: ProviderModelNotFound,
    407: ProviderMisconfigured,
    408: ProviderUnavailable,
    409: ProviderUnavailable,
    413: ContextLengthExceeded,
    418: ProviderMisconfigured,
    421: ProviderMisconfigured,
    422: ProviderRefused,
    424: ProviderMisconfigured,
    425: ProviderMisconfigured,
    429: ProviderRateLimited,
    500: ProviderUnavailable,
    501: ProviderMisconfigured,
    502: ProviderUnavailable,
    503: ProviderUnavailable,
    529: ProviderUnavailable,
}
"""What a status without a telling body becomes."""


@every
@pytest.mark.promise("provider:swap")
async def test_an_answer_is_reasoning_then_text_then_one_finish_that_counts(
    subject: Subject,
) -> None:
    async with subject.saying("Hello ", "world.", reasoning=("Hm. ", "Hm?")) as answer:
        deltas, error = await gather(answer)
    assert error is None
    assert [type(delta).__name__ for delta in deltas] == [
        "Reasoning", "Reasoning", "Text", "Text", "Finish",
    ]  # fmt: skip
    assert thoughts(deltas) == ["Hm. ", "Hm?"]
    assert texts(deltas) == ["Hello ", "world."]
    [end] = finishes(deltas)
    assert end.reason == "stop"
    assert end.usage is not None
    assert (end.usage.input_tokens > 0, end.usage.reasoning_tokens) == (True, 2)
    assert end.usage.output_tokens > 2
    assert not end.usage.estimated


@every
async def test_nothing_comes_behind_the_finish(subject: Subject) -> None:
    async with subject.saying("Hello") as answer:
        deltas, _ = await gather(answer)
        assert len(finishes(deltas)) == 1
        assert await anext(answer, None) is None
        assert await anext(answer, None) is None


@every
@pytest.mark.promise("stream:word-by-word")
@pytest.mark.parametrize("pieces", UNICODE.values(), ids=UNICODE.keys())
async def test_text_comes_through_unchanged(subject: Subject, pieces: Sequence[str]) -> None:
    """And so does reasoning; a provider that is told how to cut does not cut otherwise."""
    async with subject.saying(*pieces, reasoning=pieces) as answer:
        deltas, error = await gather(answer)
    assert error is None
    assert "".join(texts(deltas)) == "".join(thoughts(deltas)) == "".join(pieces)
    assert all(texts(deltas))
    assert all(thoughts(deltas))
    if isinstance(subject, UpstreamSubject):
        assert texts(deltas) == thoughts(deltas) == list(pieces)


@every
async def test_a_megabyte_comes_through_unchanged(subject: Subject) -> None:
    piece = "Größe🙂" * 100 + "\n"
    async with subject.saying(*[piece] * 1000) as answer:
        deltas, error = await gather(answer)
    assert error is None
    assert "".join(texts(deltas)) == piece * 1000


@every_upstream
async def test_one_delta_may_be_a_megabyte(subject: UpstreamSubject) -> None:
    piece = "Größe 🙂 " * 80_000
    async with subject.saying(piece) as answer:
        deltas, _ = await gather(answer)
    assert texts(deltas) == [piece]


@every
@pytest.mark.parametrize("reason", ["stop", "length"])
async def test_the_finish_tells_why_the_answer_ended(
    subject: Subject, reason: FinishReason
) -> None:
    async with subject.saying("One ", "two", reason=reason) as answer:
        deltas, _ = await gather(answer)
    assert "".join(texts(deltas)).startswith("One two")
    assert [end.reason for end in finishes(deltas)] == [reason]
    assert finishes(deltas)[0].provider_reason is not None


@every_upstream
async def test_an_answer_that_a_content_filter_stops_is_told_from_others(
    subject: UpstreamSubject,
) -> None:
    async with subject.saying("One ", reason="content_filter") as answer:
        deltas, error = await gather(answer)
    assert error is None
    assert [end.reason for end in finishes(deltas)] == ["content_filter"]


@every_upstream
async def test_a_word_for_the_end_that_nobody_knows_is_other_and_is_kept(
    subject: UpstreamSubject,
) -> None:
    async with subject.asked(text("One"), finish("tired")) as (_, answer):
        deltas, error = await gather(answer)
    assert error is None
    assert [end.reason for end in finishes(deltas)] == ["other"]
    assert (finishes(deltas)[0].provider_reason or "").lower() == "tired"


@every_upstream
async def test_the_finish_names_the_model_that_answered(subject: UpstreamSubject) -> None:
    async with subject.saying("One") as answer:
        deltas, _ = await gather(answer)
    assert (finishes(deltas)[0].model or "").endswith("-test-1")


@every_upstream
async def test_a_provider_answers_many_at_once_and_mixes_nothing_up(
    subject: UpstreamSubject,
) -> None:
    answers: dict[str, list[str]] = {}

    async def ask(provider: Provider, name: str) -> None:
        prompt = Prompt(messages=(Message("user", name),))
        async with answering(provider, prompt) as answer:
            deltas, _ = await gather(answer)
        answers[name] = texts(deltas)

    def echo(call: Call) -> Script:
        name = str(call.body).split("name-")[1][:1]
        return text(*[f"{name} "] * 20), finish()

    with anyio.fail_after(10):
        async with subject.open() as (api, provider), anyio.create_task_group() as tasks:
            api.choose = echo
            for name in "abcdefgh":
                tasks.start_soon(ask, provider, f"name-{name}")
    assert answers == {f"name-{name}": [f"{name} "] * 20 for name in "abcdefgh"}


@every_upstream
@pytest.mark.promise("stream:word-by-word")
async def test_a_delta_is_given_while_the_upstream_says_no_more(subject: UpstreamSubject) -> None:
    """The stream is not read ahead, neither by lines nor by blocks."""
    async with subject.asked(text("One ", "two "), HOLD) as (_, answer):
        with anyio.fail_after(5):
            assert [await anext(answer), await anext(answer)] == [Text("One "), Text("two ")]


@every_upstream
async def test_bytes_may_come_one_at_a_time(subject: UpstreamSubject) -> None:
    pieces = "Zoë ", "🙂", "\r\n", "\u2028end"
    data = b"".join(map(subject.wire.token, pieces))
    async with subject.asked(raw(data, piece_bytes=1), finish("length")) as (_, answer):
        deltas, error = await gather(answer)
    assert error is None
    assert texts(deltas) == list(pieces)
    assert [end.reason for end in finishes(deltas)] == ["length"]


@every_upstream
async def test_an_emoji_may_be_cut_between_two_chunks_of_the_connection(
    subject: UpstreamSubject,
) -> None:
    data = subject.wire.token("a🙂b")
    middle = data.index("🙂".encode()) + 2
    script = raw(data[:middle]), raw(data[middle:]), finish()
    async with subject.asked(*script) as (_, answer):
        deltas, _ = await gather(answer)
    assert texts(deltas) == ["a🙂b"]


@every_upstream
@pytest.mark.promise("stream:word-by-word")
async def test_an_emoji_may_be_cut_into_two_json_escapes_in_two_deltas(
    subject: UpstreamSubject,
) -> None:
    script = text("a\ud83d", "\ude42b", "\ud83d"), text("\ude42"), finish()
    async with subject.asked(*script) as (_, answer):
        deltas, error = await gather(answer)
    assert error is None
    assert "".join(texts(deltas)) == "a🙂b🙂"
    assert all(texts(deltas))


@every_upstream
@pytest.mark.parametrize("pieces", [("a\ud83d",), ("\ud83d", "a"), ("\ude42", "\ude42a")])
async def test_half_an_emoji_without_its_partner_is_replaced_and_never_passed_on(
    subject: UpstreamSubject, pieces: Sequence[str]
) -> None:
    async with subject.asked(text(*pieces), finish()) as (_, answer):
        deltas, error = await gather(answer)
    assert error is None
    assert "".join(texts(deltas)) == "".join(
        "\ufffd" if "\ud800" <= char <= "\udfff" else char for char in "".join(pieces)
    )


@every_upstream
async def test_half_an_emoji_at_the_end_of_the_thinking_is_replaced(
    subject: UpstreamSubject,
) -> None:
    async with subject.asked(reasoning("Hm \ud83d"), finish()) as (_, answer):
        deltas, _ = await gather(answer)
    assert thoughts(deltas) == ["Hm ", "\ufffd"]


@every_upstream
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("ending", [(), (CLOSE,), (RESET,)], ids=["tidy end", "close", "reset"])
async def test_an_answer_that_breaks_off_is_never_a_finished_one(
    subject: UpstreamSubject, ending: Script
) -> None:
    deltas, error = await _end_of(subject, text("One ", "two "), *ending)
    # A reset may overtake what was sent before it.
    assert texts(deltas) == ["One ", "two "][: len(deltas)]
    assert len(deltas) == 2 or ending == (RESET,)
    assert type(error) is UpstreamCut


@every_upstream
async def test_a_stream_without_a_word_has_broken_off_too(subject: UpstreamSubject) -> None:
    assert type((await _end_of(subject, HEAD))[1]) is UpstreamCut
    assert type((await _end_of(subject, HEAD, CLOSE))[1]) is UpstreamCut


@every_upstream
async def test_an_upstream_that_refuses_the_connection_is_unavailable(
    subject: UpstreamSubject,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    async with opened(subject.wire.entry(url)) as provider:
        deltas, error = await _ask(provider)
    assert deltas == []
    assert type(error) is ProviderUnavailable


@every_upstream
@pytest.mark.parametrize("ending", [CLOSE, RESET], ids=["close", "reset"])
async def test_an_upstream_that_hangs_up_without_an_answer_is_unavailable(
    subject: UpstreamSubject, ending: Step
) -> None:
    assert type((await _end_of(subject, ending))[1]) is ProviderUnavailable


@every_upstream
@pytest.mark.parametrize(
    "data",
    [
        b"data: {'single': 'quotes'}\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"data: {" + b'"a":{' * 100_000 + b"\n\n",
    ],
    ids=["quotes", "deep list", "deep object"],
)
async def test_a_chunk_that_is_not_of_the_api_is_an_error_and_not_a_mistake_of_ours(
    subject: UpstreamSubject, data: bytes
) -> None:
    deltas, error = await _end_of(subject, text("One "), raw(data), finish())
    assert texts(deltas) == ["One "]
    assert finishes(deltas) == []
    assert type(error) is UpstreamInvalid


@every_upstream
async def test_bytes_that_are_no_text_are_an_error_and_not_another_text(
    subject: UpstreamSubject,
) -> None:
    data = subject.wire.token("two").replace(b"two", b"t\xffo")
    deltas, error = await _end_of(subject, text("One "), raw(data), finish())
    assert texts(deltas) == ["One "]
    assert type(error) is UpstreamInvalid


@every_upstream
async def test_the_length_of_a_line_is_bounded(subject: UpstreamSubject) -> None:
    """An upstream that never ends its line cannot fill the memory."""

    async def endless(to: Exchange) -> None:
        while True:
            await to.send(b"x" * 65_536)

    deltas, error = await _end_of(subject, text("One "), raw(b"data: "), endless)
    assert texts(deltas) == ["One "]
    assert type(error) is UpstreamInvalid


@every_upstream
@pytest.mark.parametrize("body", [None, "no object", [], b"\xff<html>"], ids=repr)
@pytest.mark.promise("provider:swap")
async def test_a_status_becomes_the_same_error_whatever_the_body(
    subject: UpstreamSubject, body: object
) -> None:
    errors = {}
    async with subject.open() as (api, provider):
        api.script(*[(status(code, body),) for code in ERRORS])
        for code in ERRORS:
            deltas, error = await _ask(provider)
            assert deltas == []
            errors[code] = type(error)
    assert errors == ERRORS


@every_upstream
@pytest.mark.promise("end:exactly-one")
async def test_an_error_in_the_place_of_a_chunk_ends_the_answer_as_its_status_would(
    subject: UpstreamSubject,
) -> None:
    errors = {}
    async with subject.open() as (api, provider):
        for code in ERRORS:
            api.script((text("One "), raw(frame({"error": {"code": code}})), finish()))
            deltas, error = await _ask(provider)
            assert (texts(deltas), finishes(deltas)) == (["One "], [])
            errors[code] = type(error)
    # A redirect is the answer of a server, and not of a model.
    assert errors == {**ERRORS, 301: ProviderError, 307: ProviderError}


@every_upstream
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    "said",
    [
        b'data: {"error": {"code": 400, "message": "prompt is too long"}}\n\n',
        b'data: {"error": "prompt is too long", "error_type": "validation"}\n\n',
        b'data: {"object": "error", "message": "prompt is too long", "code": 400}\n\n',
        b'data: {"type": "error", "error": {"message": "prompt is too long"}}\n\n',
        b'data: {"detail": "prompt is too long"}\n\n',
        b'data: {"errors": [{"code": "context_length_exceeded"}]}\n\n',
        b'data: [{"error": {"code": "context_length_exceeded"}}]\n\n',
        b'event: error\ndata: {"message": "prompt is too long"}\n\n',
        b"event: error\ndata: prompt is too long\n\n",
        b'error: {"code": 400, "message": "prompt is too long"}\n\n',
        b"error: prompt is too long\n\n",
    ],
    ids=lambda it: it[:40].decode(),
)
async def test_an_error_means_the_same_in_any_wrapping_of_a_stream(
    subject: UpstreamSubject, said: bytes
) -> None:
    deltas, error = await _end_of(subject, HEAD, raw(said), finish())
    assert (deltas, type(error)) == ([], ContextLengthExceeded)
    if said.startswith(b"data: {"):  # and as a whole body, in the place of the stream
        body = said.removeprefix(b"data: ").strip()
        deltas, error = await _end_of(subject, status(200, body))
        assert (deltas, type(error)) == ([], ContextLengthExceeded)


@every_upstream
@pytest.mark.parametrize("depth", [100, 800, 20_000])
@pytest.mark.promise("end:exactly-one")
async def test_an_error_body_of_nested_lists_is_an_error_like_others(
    subject: UpstreamSubject, depth: int
) -> None:
    nested = b"[" * depth + b"]" * depth
    _, error = await _end_of(subject, status(400, nested))
    assert type(error) is ProviderRefused
    _, error = await _end_of(subject, status(503, b'{"error":%b}' % nested))
    assert type(error) is ProviderUnavailable
    _, error = await _end_of(subject, raw(b'data: {"error":%b}\n\n' % nested))
    assert isinstance(error, ProviderError)


@every_upstream
@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("error", "upstream_error"),
        ("network_error", "provider_unavailable"),
        ("ABORT", "provider_unavailable"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* is not a valid FinishReason")  # google-genai says so
@pytest.mark.promise("end:exactly-one")
async def test_a_finish_word_for_a_failure_is_a_failure(
    subject: UpstreamSubject, word: str, code: str
) -> None:
    deltas, error = await _end_of(subject, text("One "), finish(word))
    assert texts(deltas) == ["One "]
    assert not finishes(deltas)
    assert error is not None
    assert error.code == code


@every_upstream
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("eos_token", "stop"),
        ("end", "stop"),
        ("sensitive", "content_filter"),
        ("model_length", "length"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* is not a valid FinishReason")
async def test_every_adapter_knows_the_finish_words_of_all(
    subject: UpstreamSubject, word: str, reason: FinishReason
) -> None:
    async with subject.asked(text("One"), finish(word)) as (_, answer):
        deltas, error = await gather(answer)
    assert error is None
    assert [end.reason for end in finishes(deltas)] == [reason]


@every_upstream
@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize("rest", [CLOSE, HOLD], ids=["breaks off", "never goes on"])
async def test_an_error_is_the_one_of_its_status_though_its_body_never_ends_well(
    subject: UpstreamSubject, rest: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_module, "REFUSAL_SECONDS", 0.05)
    script = status(429, b"half", {"Content-Length": "100"}), rest
    async with subject.open(*script) as (api, provider):
        assert type((await _ask(provider))[1]) is ProviderRateLimited
        with anyio.fail_after(5):
            await api.until(lambda: api.calls[0].hung_up or api.calls[0].closed_at)


@every_upstream
@pytest.mark.promise("upstream:bounded")
async def test_of_an_error_without_an_end_only_so_much_is_read(subject: UpstreamSubject) -> None:
    """Nor of one that was compressed, which may grow to any size."""
    sent_bytes = 0

    async def endless(to: Exchange) -> None:
        nonlocal sent_bytes
        encoding = b"Content-Encoding: gzip\r\n" if len(api.calls) > 1 else b""
        await to.write(b"HTTP/1.1 500 Scripted\r\nContent-Type: text/plain\r\n%b\r\n" % encoding)
        while True:
            await to.write(b"x" * 4096)
            sent_bytes += 4096

    async with subject.open(endless) as (api, provider):
        for number in range(2):
            assert type((await _ask(provider))[1]) is ProviderUnavailable
            with anyio.fail_after(5):
                await api.calls[number].closed.wait()
    # The rest is what the kernel takes off the sender's hands.
    assert sent_bytes < 50_000_000


@every_upstream
@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 8192 tokens.",
        "The input token count (40000) exceeds the maximum number of tokens allowed (32000).",
        "the request exceeds the available context size",
        "prompt is too long",
    ],
)
async def test_a_prompt_that_is_too_long_is_told_from_other_refusals(
    subject: UpstreamSubject, words: str
) -> None:
    error = {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}
    _, seen = await _end_of(subject, status(400, {"error": error}))
    assert type(seen) is ContextLengthExceeded


@every_upstream
@pytest.mark.promise("provider:swap")
async def test_a_prompt_that_a_filter_refuses_is_told_from_other_refusals(
    subject: UpstreamSubject,
) -> None:
    """And is not worth another try, with anybody."""
    error = {"code": "content_filter", "message": "no"}
    _, seen = await _end_of(subject, status(400, {"error": error}))
    assert isinstance(seen, ProviderContentFiltered)
    assert (seen.code, seen.retryable) == ("content_filter", False)


def _retry_info(delay: object) -> object:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    return {"error": {"code": 429, "details": [7, {"@type": "x"}, info]}}


@every_upstream
@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, None, None),
        ({"Retry-After": "12"}, None, 12),
        ({"Retry-After": "0"}, None, 0),
        ({"Retry-After": "1.5"}, None, 1.5),
        ({"Retry-After": "12", "retry-after-ms": "250"}, None, 0.25),
        ({"Retry-After": "12", "retry-after-ms": "soon"}, None, 12),
        ({"Retry-After": "-1"}, None, None),
        ({"Retry-After": "nan"}, None, None),
        ({"Retry-After": "9" * 400}, None, None),
        ({"Retry-After": "Mon, 99 Foo 99999 99:99:99 GMT"}, None, None),
        ({"Retry-After": ""}, None, None),
        ({}, _retry_info("12s"), 12),
        ({}, _retry_info("0.5s"), 0.5),
        ({"Retry-After": "3"}, _retry_info("12s"), 3),
        ({}, _retry_info("-12s"), None),
        ({}, _retry_info(12), None),
        ({}, {"error": {"code": 429, "details": "12s"}}, None),
    ],
    ids=repr,
)
async def test_an_error_tells_when_the_upstream_wants_to_be_asked_again(
    subject: UpstreamSubject, headers: dict[str, str], body: object, expected: float | None
) -> None:
    async with subject.open() as (api, provider):
        for code, kind in ((429, ProviderRateLimited), (503, ProviderUnavailable)):
            api.script((status(code, body, headers),))
            _, error = await _ask(provider)
            assert type(error) is kind
            assert error.retry_after_seconds == expected


@every_upstream
async def test_when_to_ask_again_may_be_a_date(subject: UpstreamSubject) -> None:
    now = datetime.now(UTC)
    due = format_datetime(now + timedelta(hours=1), usegmt=True)
    over = format_datetime(now - timedelta(hours=1), usegmt=True)
    async with subject.open() as (api, provider):
        for date in (due, due.replace("GMT", "-0000")):
            api.script((status(429, None, {"Retry-After": date}),))
            _, error = await _ask(provider)
            assert error is not None
            assert error.retry_after_seconds == pytest.approx(3600, abs=60)
        api.script((status(429, None, {"Retry-After": over}),))
        _, error = await _ask(provider)
        assert error is not None
        assert error.retry_after_seconds is None


@every_upstream
@pytest.mark.promise("secret:kept")
async def test_what_an_upstream_says_of_its_failure_stays_out_of_the_error(
    subject: UpstreamSubject,
) -> None:
    body = {"error": {"code": 500, "message": "sk-secret of org-secret", "status": "sk-secret"}}
    _, error = await _end_of(subject, status(500, body))
    assert isinstance(error, ProviderError)
    assert "secret" not in f"{error!s} {error!r} {error.message} {vars(error)}"


@every_upstream
async def test_a_connection_is_used_again_after_a_whole_answer(subject: UpstreamSubject) -> None:
    async with subject.open(text("One"), finish()) as (api, provider):
        for _ in range(3):
            async with answering(provider, PROMPT) as answer:
                deltas, _ = await gather(answer)
            assert texts(deltas) == ["One"]
        assert [call.connection for call in api.calls] == [1, 1, 1]


@every_upstream
@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize("rest", [paced(0.001), HOLD], ids=["talking", "silent"])
async def test_leaving_in_the_middle_closes_the_connection(
    subject: UpstreamSubject, rest: Step
) -> None:
    async with subject.open(text("One "), rest) as (api, provider):
        async with answering(provider, PROMPT) as answer:
            assert await anext(answer) == Text("One ")
        with anyio.fail_after(5):
            await api.calls[0].closed.wait()


@every_upstream
@pytest.mark.parametrize("script", [(HOLD,), (HEAD, HOLD)], ids=["no answer", "head only"])
async def test_cancelling_before_the_first_word_closes_the_connection(
    subject: UpstreamSubject, script: Script
) -> None:
    async def ask(provider: Provider) -> None:
        async with answering(provider, PROMPT) as answer:
            await gather(answer)

    with anyio.fail_after(5):
        async with subject.open(*script) as (api, provider):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, provider)
                call = await api.call()
                tasks.cancel_scope.cancel()
            await call.closed.wait()


class _Enough(Exception):
    """Whoever is told wants no more."""


@every_upstream
@pytest.mark.promise("cancel:clean")
async def test_what_is_raised_by_whoever_is_told_ends_the_call_and_comes_through(
    subject: UpstreamSubject,
) -> None:
    """As when a log is full. Nothing is said behind it, and the connection is closed."""
    told: list[Delta] = []

    def refuse_the_second(delta: Delta | Finish) -> None:
        assert not isinstance(delta, Finish)
        told.append(delta)
        if len(told) == 2:
            raise _Enough

    async with subject.open(text("One ", "two ", "three "), HOLD) as (api, provider):
        with anyio.fail_after(5), pytest.raises(_Enough):
            await provider.generate(PROMPT, refuse_the_second)
        with anyio.fail_after(5):
            await api.calls[0].closed.wait()
    assert told == [Text("One "), Text("two ")]


@pytest.mark.promise("cancel:clean")
async def test_a_clean_up_goes_on_although_its_task_is_cancelled() -> None:
    """What closes a connection may have to wait for it."""
    steps: list[str] = []

    async def close() -> None:
        steps.append("began")
        await anyio.lowlevel.checkpoint()
        steps.append("ended")

    with anyio.CancelScope() as scope:
        async with closed_afterwards(close):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert steps == ["began", "ended"]
    assert scope.cancelled_caught


@pytest.mark.promise("upstream:bounded")
async def test_a_clean_up_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CLOSE_SECONDS", 0.01)
    with anyio.fail_after(5):
        async with closed_afterwards(anyio.sleep_forever):
            pass
