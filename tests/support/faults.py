"""Every fault of an upstream that streamsvc has to survive, and what it does then: one row each.

`test_faults` plays each row on real sockets, with either API as the primary and the other one as the
fallback, and compares both sides. `docs/faults.md` shows the rows; write them anew with
`uv run python tests/support/faults.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import anyio

from streamsvc.events import Usage
from support.upstreams import (
    CLOSE,
    EMPTY,
    GEMINI,
    HEAD,
    HOLD,
    RESET,
    USAGE,
    Exchange,
    Script,
    Step,
    body,
    finish,
    frame,
    raw,
    status,
    text,
)

PRIMARY, FALLBACK = "primary", "fallback"

DEADLINE_SECONDS = 0.3
"""Of the deadline that a row is about; those that it is not about are long."""

SILENT_SECONDS = 0.2
"""A silence that is a large part of that deadline."""

PAUSE_SECONDS = 2 * DEADLINE_SECONDS
"""Of a provider that says more than it seemed to: longer than the end of a stream is waited for."""

PATIENCE_SECONDS = 0.2
"""What a `Retry-After` asks for."""

KEY = "sk-a-key-that-nobody-may-see"
PROMPT = "sesame"

SAID, REST = "The sky ", "is blue."
HALF = text("The ", "sky ")
WELL: Script = (text("The ", "sky ", "is ", "blue."), finish())
"""A healthy answer."""

OTHER_USAGE = Usage(input_tokens=7, output_tokens=11, reasoning_tokens=1)
SAME: Script = (text("The sk", "y is", " blue."), finish(usage=OTHER_USAGE))
"""The same answer by somebody else."""

OTHER_TEXT = "It depends."
OTHER: Script = (text("It ", "depends."), finish(usage=OTHER_USAGE))
"""Another answer by somebody else."""

CHANGED: Script = (text("Blue ", "it ", "is."), finish())
CHANGED_TEXT = "Blue it is."
"""Another answer by the same provider."""

Port = Literal["open", "closed", "full"]
Deadline = Literal["connect", "first_token", "idle"]
Event = tuple[str, ...]
"""What a viewer gets before `done`: its type and what it says."""


def retrying(reason: str, provider: str = PRIMARY) -> Event:
    return ("retrying", provider, reason)


def switching(reason: str) -> Event:
    return ("switching", FALLBACK, reason)


def restart(reason: str, provider: str = FALLBACK) -> Event:
    return ("restart", provider, reason)


def said(words: str) -> Event:
    """Text; consecutive pieces are one."""
    return ("text", words)


@dataclass(frozen=True, kw_only=True)
class End:
    """What `done` says."""

    status: str = "completed"
    finish_reason: str = "stop"
    outcome: str = "completed"
    provider: str = PRIMARY
    usage: Usage | Literal["estimated"] | None = USAGE
    error: str | None = None


ANSWERED = End()
ANSWERED_ELSEWHERE = End(provider=FALLBACK, usage=OTHER_USAGE)


def filtered(usage: Usage | Literal["estimated"] | None = None, error: str | None = None) -> End:
    return End(status="incomplete", finish_reason="content_filter", usage=usage, error=error)


def failed(
    error: str, outcome: str = "upstream_error", usage: Literal["estimated"] | None = None
) -> End:
    return End(status="failed", finish_reason="error", outcome=outcome, usage=usage, error=error)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One row.

    Attributes:
        name: of the test.
        words: the fault.
        conduct: what streamsvc does.
        primary: what the primary plays, a script a request, the last one for all that follow.
        fallback: what the fallback plays; None: there is no fallback.
        port: whether the primary listens, and whether it accepts.
        entry: settings of the primary's entry, where they matter.
        rescue: the setting.
        events: what the viewer gets before `done`.
        end: what `done` says.
        calls: how often the primary and the fallback are asked.
        gaps: how long the primary is left in peace before each further call, at least.
        deadline: the one that passes.
        silent_seconds: how long the provider says nothing, at least.
        is_kept: whether the first call comes on a connection that the primary has kept.
        unseen: how many requests the primary sees that nobody else does.
        setting: the key of the entry that the operator's log names.
        kinds: of the primary; a fault that only one API can have names it.
    """

    name: str
    words: str
    conduct: str
    primary: tuple[Script, ...] = ()
    fallback: Script | None = OTHER
    port: Port = "open"
    entry: Mapping[str, Any] = field(default_factory=dict)
    rescue: bool = True
    events: tuple[Event, ...]
    end: End
    calls: tuple[int, int]
    gaps: tuple[float, ...] = ()
    deadline: Deadline | None = None
    silent_seconds: float = DEADLINE_SECONDS
    is_kept: bool = False
    unseen: int = 0
    setting: str = ""
    kinds: tuple[str, ...] = ("openai", "gemini")


# What an upstream can do wrong


def _by_api(*, openai: Step, gemini: Step) -> Step:
    return lambda to: (gemini if to.call.wire is GEMINI else openai)(to)


def _error(code: int, message: str, openai_code: str, gemini_status: str) -> Step:
    """Answer with an error as each API words it."""
    kind = "server_error" if code >= 500 else "invalid_request_error"
    return _by_api(
        openai=status(code, {"error": {"message": message, "type": kind, "code": openai_code}}),
        gemini=status(code, {"error": {"code": code, "message": message, "status": gemini_status}}),
    )


def _patience(seconds: float) -> Step:
    """A 429 that says when to come back: a header, or what Gemini has in its place."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [info]}
    return _by_api(
        openai=status(429, headers={"Retry-After": f"{seconds}"}),
        gemini=status(429, {"error": error}),
    )


async def _dribble(to: Exchange) -> None:
    """Send everything that is no token, again and again."""
    while True:
        await to.send(b": keepalive\n\n")
        await to.send(to.call.wire.empty())
        await anyio.sleep(DEADLINE_SECONDS / 6)


_RATE_LIMITED = _error(429, "Slow down.", "rate_limit_exceeded", "RESOURCE_EXHAUSTED")
_BROKEN = _error(500, "Oh.", "internal_error", "INTERNAL")
_DOWN = _error(503, "Later.", "overloaded", "UNAVAILABLE")
_GATEWAY = _error(504, "Nobody answers.", "timeout", "DEADLINE_EXCEEDED")
_STAY_SILENT: Step = lambda _: anyio.sleep(SILENT_SECONDS)  # noqa: E731
_TOO_LONG = _error(
    400,
    "The input token count exceeds the maximum context length.",
    "context_length_exceeded",
    "INVALID_ARGUMENT",
)
_BAD_KEY = _error(401, f"Incorrect API key: {KEY}", "invalid_api_key", "UNAUTHENTICATED")
_NOT_ALLOWED = _error(403, f"{KEY} may not.", "not_allowed", "PERMISSION_DENIED")
_NO_MODEL = _error(404, "No such model.", "model_not_found", "NOT_FOUND")
_MODEL_IN_400 = _error(400, "Invalid model: no-such-model", "invalid_model", "INVALID_ARGUMENT")
_NO_QUOTA = _error(429, "You have used it up.", "insufficient_quota", "insufficient_quota")
_TOO_LONG_IN_STREAM = raw(frame({"error": {"code": 400, "message": "The prompt is too long."}}))
_TOO_LONG_EVENT = raw(b'event: error\ndata: {"detail": "The prompt is too long."}\n\n')
_GOOGLES_BAD_KEY = status(
    400,
    {
        "error": {
            "code": 400,
            "message": f"API key not valid: {KEY}",
            "status": "INVALID_ARGUMENT",
            "details": [{"reason": "API_KEY_INVALID"}],
        }
    },
)
_BLOCKED = _by_api(
    openai=_error(400, "The prompt was filtered.", "content_filter", ""),
    gemini=raw(frame({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})),
)
_ERROR_IN_STREAM = _by_api(
    openai=raw(frame({"error": {"message": "Oh.", "type": "server_error", "code": None}})),
    gemini=raw(frame({"error": {"code": 503, "message": "Oh.", "status": "UNAVAILABLE"}})),
)
_NO_JSON = raw(b'data: {"choices": [{"delta"\n\n')
_NO_UTF8: Step = lambda to: to.send(to.call.wire.token("is ~").replace(b"~", b"\xff"))  # noqa: E731
_LINE_BYTES = 4096
_LONG_LINE = raw(b"data: " + b"x" * (4 * _LINE_BYTES), piece_bytes=1000)
_NO_DONE = _by_api(
    openai=lambda to: to.send(to.call.wire.finish("stop", USAGE).removesuffix(b"data: [DONE]\n\n")),
    gemini=finish(),
)

_ZERO = Usage(input_tokens=0, output_tokens=0, reasoning_tokens=0)
_REASON: Step = lambda to: to.send(to.call.wire.reason("stop"))  # noqa: E731
_COUNTED: Step = lambda to: to.send(to.call.wire.counted(USAGE))  # noqa: E731
_ZEROS: Step = lambda to: to.send(to.call.wire.stamped("", usage=_ZERO))  # noqa: E731
_PAUSE: Step = lambda _: anyio.sleep(PAUSE_SECONDS)  # noqa: E731
_NO_BLANK_LINE: Step = lambda to: to.send(to.call.wire.stamped("", usage=USAGE).rstrip(b"\r\n"))  # noqa: E731
_ONE_JSON: Step = lambda to: status(200, to.call.wire.whole(SAID + REST))(to)  # noqa: E731
_PAGE = body(b"<!doctype html><title>Sign in</title>", "text/html")


def _stamped(*words: str) -> Step:
    """Send words, each with a finish reason."""
    return lambda to: to.send_tokens(map(to.call.wire.stamped, words))


# How long a wait is at least: the later half of a backoff is chance.
BACKOFF_SECONDS = 0.04
_BACKOFFS = (BACKOFF_SECONDS / 2, BACKOFF_SECONDS)

_AGAIN = retrying("provider_unavailable")
_CUT = retrying("upstream_cut")
_ODD = retrying("upstream_invalid")

_ENDS: Mapping[str, tuple[Script, str]] = {
    "eof": ((HALF, CLOSE), "The connection is closed in the middle of an answer"),
    "reset": ((HALF, RESET), "The connection is reset in the middle of an answer"),
    "tidy": ((HALF,), "The answer ends tidily, but without a finish reason"),
}


def _faults_before_the_answer() -> Iterator[Fault]:
    yield Fault(
        name="rate-limited-once",
        words="429 with `Retry-After`, once",
        conduct="Waits for what it says, and asks again.",
        primary=((_patience(PATIENCE_SECONDS),), WELL),
        events=(retrying("provider_rate_limited"), said(SAID + REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=(PATIENCE_SECONDS,),
    )
    yield Fault(
        name="rate-limited-for-long",
        words="429 with a `Retry-After` that is longer than `max_backoff_seconds`",
        conduct="Does not wait: the fallback is asked at once.",
        primary=((_patience(3),),),
        events=(switching("provider_rate_limited"), said(OTHER_TEXT)),
        end=ANSWERED_ELSEWHERE,
        calls=(1, 1),
    )
    yield Fault(
        name="rate-limited-for-too-long-alone",
        words="429 with a `Retry-After` beyond the first-token deadline",
        conduct="Does not wait for what would be too late: fails at once.",
        primary=((_patience(60),),),
        fallback=None,
        events=(),
        end=failed("provider_rate_limited"),
        calls=(1, 0),
    )
    yield from _rounds("rate-limited", "429, for ever", (_RATE_LIMITED,), "provider_rate_limited")
    yield Fault(
        name="broken-once",
        words="500, once",
        conduct="Asks the same provider again.",
        primary=((_BROKEN,), WELL),
        events=(_AGAIN, said(SAID + REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=_BACKOFFS[:1],
    )
    yield from _rounds("down", "503, for ever", (_DOWN,), "provider_unavailable")
    yield Fault(
        name="everybody-down",
        words="503 for ever, by the fallback too",
        conduct="Fails when everybody had its tries, or after `max_calls` calls in all.",
        primary=((_DOWN,),),
        fallback=(_DOWN,),
        events=(
            _AGAIN,
            _AGAIN,
            switching("provider_unavailable"),
            *(retrying("provider_unavailable", FALLBACK),) * 2,
        ),
        end=failed("provider_unavailable"),
        calls=(3, 3),
        gaps=_BACKOFFS,
    )
    for name, step, words in (
        ("reset", RESET, "The connection is reset before the head of an answer"),
        ("hung-up", CLOSE, "The connection is closed before the head of an answer"),
    ):
        yield Fault(
            name=f"{name}-once",
            words=f"{words}, once",
            conduct="Asks the same provider again.",
            primary=((step,), WELL),
            events=(_AGAIN, said(SAID + REST)),
            end=ANSWERED,
            calls=(2, 0),
            gaps=_BACKOFFS[:1],
        )
        yield Fault(
            name=f"kept-{name}",
            words=f"{words.replace('The', 'A kept')}",
            conduct="It has refused nothing: sends the request again on a new connection, unseen, "
            "and also with `attempts = 1`.",
            primary=((step,), WELL),
            entry={"attempts": 1},
            events=(said(SAID + REST),),
            end=ANSWERED,
            calls=(2, 0),
            gaps=(0.0,),
            is_kept=True,
            unseen=1,
        )
    yield from _rounds(
        "reset",
        "The connection is reset before the head of an answer, for ever",
        (RESET,),
        "provider_unavailable",
    )
    yield from _rounds(
        "refused", "Connections are refused, for ever", (), "provider_unavailable", port="closed"
    )
    yield Fault(
        name="error-chunk-at-once",
        words="An error object in the place of the first chunk, once",
        conduct="Asks the same provider again.",
        primary=((HEAD, _ERROR_IN_STREAM), WELL),
        events=(retrying("provider_unavailable"), said(SAID + REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=_BACKOFFS[:1],
    )


def _rounds(
    name: str,
    words: str,
    script: Script,
    code: str,
    *,
    port: Port = "open",
    usage: Literal["estimated"] | None = None,
) -> Iterator[Fault]:
    """What lasts: all tries, and then a fallback, or a failure where there is none."""
    asked = 0 if port == "closed" else 3
    tries = (retrying(code), retrying(code))
    yield Fault(
        name=f"{name}-for-ever",
        words=words,
        conduct="Asks again, `attempts` times in all, with a backoff between; then the fallback.",
        primary=(script,),
        port=port,
        events=(*tries, switching(code), said(OTHER_TEXT)),
        end=ANSWERED_ELSEWHERE,
        calls=(asked, 1),
        gaps=_BACKOFFS if asked else (),
    )
    yield Fault(
        name=f"{name}-for-ever-alone",
        words=words,
        conduct="Asks again, `attempts` times in all, and fails.",
        primary=(script,),
        fallback=None,
        port=port,
        events=tries,
        end=failed(code, usage=usage),
        calls=(asked, 0),
        gaps=_BACKOFFS if asked else (),
    )


def _faults_of_silence() -> Iterator[Fault]:
    silences: tuple[tuple[str, Script, Port, Deadline, str], ...] = (
        ("unreachable", (), "full", "connect", "Connections are not accepted"),
        ("silent", (HOLD,), "open", "first_token", "The request is taken, and nothing answers"),
        ("head-only", (HEAD, HOLD), "open", "first_token", "The head comes at once, and no token"),
        (
            "dribbling",
            (HEAD, EMPTY, _dribble),
            "open",
            "first_token",
            "Comments, role chunks and empty chunks come, and no token",
        ),
    )
    for name, script, port, deadline, words in silences:
        asked = 0 if port == "full" else 1
        yield Fault(
            name=name,
            words=words,
            conduct=f"Waits for `{deadline}_seconds`, closes the call, and asks the fallback.",
            primary=(script,),
            port=port,
            events=(switching("provider_timeout"), said(OTHER_TEXT)),
            end=ANSWERED_ELSEWHERE,
            calls=(asked, 1),
            deadline=deadline,
        )
        yield Fault(
            name=f"{name}-alone",
            words=words,
            conduct=f"Waits for `{deadline}_seconds`, closes the call, and fails.",
            primary=(script,),
            fallback=None,
            port=port,
            events=(),
            end=failed(
                "provider_timeout",
                f"{deadline}_timeout",
                "estimated" if deadline == "first_token" else None,
            ),
            calls=(asked, 0),
            deadline=deadline,
        )
    stalls = "Silence in the middle of an answer, the connection open"
    for name, script, events, conduct in (
        ("same", SAME, (said(REST),), "which says the same: goes on from there unseen"),
        ("other", OTHER, (restart("provider_timeout"), said(OTHER_TEXT)), "and says `restart`"),
    ):
        yield Fault(
            name=f"stalled-{name}",
            words=stalls,
            conduct=f"Waits for `idle_seconds`, closes the call, and asks the fallback, {conduct}.",
            primary=((HALF, HOLD),),
            fallback=script,
            events=(said(SAID), switching("provider_timeout"), *events),
            end=ANSWERED_ELSEWHERE,
            calls=(1, 1),
            deadline="idle",
        )
    yield Fault(
        name="stalled-alone",
        words=stalls,
        conduct="Waits for `idle_seconds`, closes the call, and fails.",
        primary=((HALF, HOLD),),
        fallback=None,
        events=(said(SAID),),
        end=failed("provider_timeout", "idle_timeout", "estimated"),
        calls=(1, 0),
        deadline="idle",
    )
    yield from _silences_that_break()


def _silences_that_break() -> Iterator[Fault]:
    before = "with no token so far"
    rows: tuple[tuple[str, Script, str, Deadline], ...] = (
        ("no-head-close", (_STAY_SILENT, CLOSE), f"closed, {before}", "first_token"),
        ("no-head-reset", (_STAY_SILENT, RESET), f"reset, {before}", "first_token"),
        ("no-head-504", (_STAY_SILENT, _GATEWAY), f"answered by a 504, {before}", "first_token"),
        (
            "head-close",
            (HEAD, _STAY_SILENT, CLOSE),
            f"closed after the head, {before}",
            "first_token",
        ),
        ("close", (HALF, _STAY_SILENT, CLOSE), "closed in the middle of the answer", "idle"),
        ("reset", (HALF, _STAY_SILENT, RESET), "reset in the middle of the answer", "idle"),
        ("tidy", (HALF, _STAY_SILENT), "ended without a finish reason", "idle"),
    )
    for name, script, words, deadline in rows:
        has_begun = deadline == "idle"
        first = (said(SAID),) if has_begun else ()
        again = (restart("provider_timeout"),) if has_begun else ()
        yield Fault(
            name=f"silent-then-{name}",
            words=f"Silence for more than half of `{deadline}_seconds`; then the call is {words}",
            conduct="As silence: does not ask again, but the fallback.",
            primary=(script,),
            events=(*first, switching("provider_timeout"), *again, said(OTHER_TEXT)),
            end=ANSWERED_ELSEWHERE,
            calls=(1, 1),
            deadline=deadline,
            silent_seconds=SILENT_SECONDS,
        )
    yield Fault(
        name="silent-then-close-alone",
        words="Silence for more than half of `idle_seconds`; then the call is closed in the middle "
        "of the answer",
        conduct="As silence: does not ask again, and fails.",
        primary=((HALF, _STAY_SILENT, CLOSE),),
        fallback=None,
        events=(said(SAID),),
        end=failed("provider_timeout", "idle_timeout", "estimated"),
        calls=(1, 0),
        deadline="idle",
        silent_seconds=SILENT_SECONDS,
    )


def _faults_within_the_answer() -> Iterator[Fault]:
    for name, (script, words) in _ENDS.items():
        yield from _breaks(name, words, script, "upstream_cut")
    yield Fault(
        name="cut-again",
        words="The connection is closed in the middle of an answer, and the next time before that",
        conduct="Asks once more, and goes on from what the viewer has.",
        primary=((HALF, CLOSE), (text("The "), CLOSE), WELL),
        events=(said(SAID), _CUT, _CUT, said(REST)),
        end=ANSWERED,
        calls=(3, 0),
        gaps=_BACKOFFS,
    )
    for name, step, words in (
        ("no-json", _NO_JSON, "A chunk that is not JSON"),
        ("no-utf-8", _NO_UTF8, "A chunk that is not UTF-8"),
        ("long-line", _LONG_LINE, "A line longer than `max_line_bytes`"),
    ):
        yield Fault(
            name=f"{name}-once",
            words=f"{words}, once",
            conduct="Text may be lost, so it is as a cut: asks again, and goes on unseen.",
            primary=((HALF, step, HOLD), WELL),
            entry={"max_line_bytes": _LINE_BYTES},
            events=(said(SAID), _ODD, said(REST)),
            end=ANSWERED,
            calls=(2, 0),
            gaps=_BACKOFFS[:1],
        )
        yield Fault(
            name=f"{name}-alone",
            words=f"{words}, each time",
            conduct="Asks again, `attempts` times in all, and fails.",
            primary=((HALF, step, HOLD),),
            fallback=None,
            entry={"max_line_bytes": _LINE_BYTES},
            events=(said(SAID), _ODD, _ODD),
            end=failed("upstream_invalid", usage="estimated"),
            calls=(3, 0),
            gaps=_BACKOFFS,
        )
    yield Fault(
        name="error-chunk",
        words="An error object in the middle of an answer, once",
        conduct="Asks again, and goes on unseen.",
        primary=((HALF, _ERROR_IN_STREAM), WELL),
        events=(said(SAID), _AGAIN, said(REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=_BACKOFFS[:1],
    )
    for name, word, code in (
        ("error", "error", "upstream_error"),
        ("resource", "insufficient_system_resource", "provider_unavailable"),
    ):
        yield Fault(
            name=f"finish-{name}",
            words=f"The finish reason `{word}`, once",
            conduct="The provider has failed, and says so: asks again, and goes on unseen.",
            primary=((HALF, finish(word)), WELL),
            events=(said(SAID), retrying(code), said(REST)),
            end=ANSWERED,
            calls=(2, 0),
            gaps=_BACKOFFS[:1],
        )
    yield from _ends_that_are_none()
    complete = "Goes by the finish reason: completed, with usage, and nobody is asked again."
    for name, words, script in (
        ("no-done", "Complete, but without `[DONE]`", (*WELL[:1], _NO_DONE)),
        (
            "no-done-cut",
            "Complete, and then the connection breaks in the place of the end",
            (*WELL[:1], _NO_DONE, CLOSE),
        ),
        (
            "no-done-open",
            "Complete, and then the connection stays open in the place of the end",
            (*WELL[:1], _NO_DONE, HOLD),
        ),
        (
            "complete-error",
            "Complete, and then an error object",
            (*WELL[:1], _NO_DONE, _ERROR_IN_STREAM),
        ),
        (
            "complete-garbage",
            "Complete, and then a chunk that is not JSON",
            (*WELL[:1], _NO_DONE, _NO_JSON),
        ),
        (
            "no-blank-line",
            "The last block lacks its blank line, and the transfer ends tidily",
            (*WELL[:1], _NO_BLANK_LINE),
        ),
        (
            "zeros",
            "Zeros as usage with the finish reason, and the real usage after it",
            (*WELL[:1], _ZEROS, _COUNTED),
        ),
    ):
        yield Fault(
            name=name,
            words=words,
            conduct=complete,
            primary=(script,),
            events=(said(SAID + REST),),
            end=ANSWERED,
            calls=(1, 0),
        )


def _ends_that_are_none() -> Iterator[Fault]:
    """Finish reasons that nothing, or something, follows."""
    yield Fault(
        name="stamped",
        words="A finish reason with every chunk, and pauses between",
        conduct="Reads on to the end of the stream.",
        primary=((_stamped("The ", "sky "), _PAUSE, _stamped("is ", "blue."), _COUNTED),),
        events=(said(SAID + REST),),
        end=ANSWERED,
        calls=(1, 0),
    )
    yield Fault(
        name="stamped-cut",
        words="A finish reason with every chunk, and the connection is closed in the middle",
        conduct="The reasons say nothing, so it is a cut: asks again, and goes on unseen.",
        primary=((_stamped("The ", "sky "), CLOSE), WELL),
        events=(said(SAID), _CUT, said(REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=_BACKOFFS[:1],
    )
    yield Fault(
        name="stamped-once",
        words="The answer in one chunk with a finish reason, then silence, the connection open",
        conduct="More may come: waits for `idle_seconds`. The answer is whole all the same.",
        primary=((_stamped("The sky is blue."), HOLD),),
        events=(said(SAID + REST),),
        end=End(usage="estimated"),
        calls=(1, 0),
        deadline="idle",
    )
    yield Fault(
        name="more-text",
        words="Text after the finish reason",
        conduct="Says it.",
        primary=((HALF, _REASON, text("is ", "blue."), _COUNTED),),
        events=(said(SAID + REST),),
        end=ANSWERED,
        calls=(1, 0),
    )


def _bodies() -> Iterator[Fault]:
    """What a good status comes with in the place of an event stream, or with nothing in it."""
    yield Fault(
        name="one-json",
        words="One JSON in the place of a stream, as of a server that ignores `stream: true`",
        conduct="Its text is the answer.",
        primary=((_ONE_JSON,),),
        events=(said(SAID + REST),),
        end=ANSWERED,
        calls=(1, 0),
    )
    for fallback, events, end, conduct in (
        (
            OTHER,
            (switching("provider_misconfigured"), said(OTHER_TEXT)),
            ANSWERED_ELSEWHERE,
            "but the fallback",
        ),
        (None, (), failed("provider_misconfigured"), "and fails"),
    ):
        yield Fault(
            name="page" if fallback else "page-alone",
            words="A page under 200, such as a login page",
            conduct=f"Does not ask again, {conduct}; the log names the entry and `base_url`.",
            primary=((_PAGE,),),
            fallback=fallback,
            events=events,
            end=end,
            calls=(1, 1 if fallback else 0),
            setting="base_url",
        )
    yield Fault(
        name="empty-once",
        words="An answer that ends (`stop`) with nothing in it, once",
        conduct="Asks the same provider again.",
        primary=((finish(),), WELL),
        events=(retrying("empty_answer"), said(SAID + REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=_BACKOFFS[:1],
    )
    yield from _rounds(
        "empty",
        "An answer that ends (`stop`) with nothing in it, each time",
        (finish(),),
        "empty_answer",
        usage="estimated",
    )


def _breaks(name: str, words: str, script: Script, code: str) -> Iterator[Fault]:
    """What becomes of an answer that breaks off."""
    again = retrying(code)
    yield Fault(
        name=f"cut-{name}-same",
        words=f"{words}, once",
        conduct="Asks again; the model says the same: goes on from there unseen.",
        primary=(script, WELL),
        events=(said(SAID), again, said(REST)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=_BACKOFFS[:1],
    )
    yield Fault(
        name=f"cut-{name}-changed-alone",
        words=f"{words}, once",
        conduct="Asks again; the model says something else: `restart`, and the new answer.",
        primary=(script, CHANGED),
        fallback=None,
        events=(said(SAID), again, restart(code, PRIMARY), said(CHANGED_TEXT)),
        end=ANSWERED,
        calls=(2, 0),
        gaps=_BACKOFFS[:1],
    )
    tries = (said(SAID), again, again)
    for how, other, events, conduct in (
        ("same", SAME, (said(REST),), "which says the same: goes on from there unseen"),
        ("other", OTHER, (restart(code), said(OTHER_TEXT)), "and says `restart`"),
    ):
        yield Fault(
            name=f"cut-{name}-for-ever-{how}",
            words=f"{words}, each time",
            conduct=f"Asks again, `attempts` times in all; then the fallback, {conduct}.",
            primary=(script,),
            fallback=other,
            events=(*tries, switching(code), *events),
            end=ANSWERED_ELSEWHERE,
            calls=(3, 1),
            gaps=_BACKOFFS,
        )
    yield Fault(
        name=f"cut-{name}-for-ever-alone",
        words=f"{words}, each time",
        conduct="Asks again, `attempts` times in all, and fails; the text stands, and is no answer.",
        primary=(script,),
        fallback=None,
        events=tries,
        end=failed("upstream_cut", "upstream_cut", "estimated"),
        calls=(3, 0),
        gaps=_BACKOFFS,
    )
    yield Fault(
        name=f"cut-{name}-no-rescue",
        words=f"{words}, with `rescue = false`",
        conduct="Fails at once; the text stands, and is no answer.",
        primary=(script,),
        rescue=False,
        events=(said(SAID),),
        end=failed("upstream_cut", "upstream_cut", "estimated"),
        calls=(1, 0),
    )


def _refusals() -> Iterator[Fault]:
    refused = (
        ("context", "400: the input is longer than the model can read", _TOO_LONG,
         "context_length_exceeded", "", ("openai", "gemini")),
        ("401", "401", _BAD_KEY, "provider_auth", "api_key_env", ("openai", "gemini")),
        ("403", "403", _NOT_ALLOWED, "provider_auth", "api_key_env", ("openai", "gemini")),
        ("400-key", "400: Gemini's word for a refused key", _GOOGLES_BAD_KEY,
         "provider_auth", "api_key_env", ("gemini",)),
        ("404", "404", _NO_MODEL, "provider_model_not_found", "model", ("openai", "gemini")),
        ("400-model", "400: the model is unknown", _MODEL_IN_400, "provider_model_not_found", "model",
         ("openai", "gemini")),
        ("413", "413", status(413), "context_length_exceeded", "", ("openai", "gemini")),
        ("402", "402", status(402), "provider_quota", "api_key_env", ("openai", "gemini")),
        ("quota", "429: the quota is used up (`insufficient_quota`)", _NO_QUOTA, "provider_quota",
         "api_key_env", ("openai", "gemini")),
        *((f"{code}", f"{code}", status(code), "provider_misconfigured", "base_url",
           ("openai", "gemini")) for code in (307, 407, 421, 424, 425)),
        ("context-in-stream", "200: the input is longer than the model can read, said in the stream",
         _TOO_LONG_IN_STREAM, "context_length_exceeded", "", ("openai", "gemini")),
        ("context-event", "The same as `event: error`", _TOO_LONG_EVENT,
         "context_length_exceeded", "", ("openai",)),
    )  # fmt: skip
    for name, words, step, code, setting, kinds in refused:
        log = f"; the log names the entry and `{setting}`" if setting else ""
        yield Fault(
            name=f"refused-{name}",
            words=words,
            conduct=f"Does not ask again, but the fallback{log}.",
            primary=((step,),),
            events=(switching(code), said(OTHER_TEXT)),
            end=ANSWERED_ELSEWHERE,
            calls=(1, 1),
            setting=setting,
            kinds=kinds,
        )
        yield Fault(
            name=f"refused-{name}-alone",
            words=words,
            conduct=f"Does not ask again, and fails{log}.",
            primary=((step,),),
            fallback=None,
            events=(),
            end=failed(code),
            calls=(1, 0),
            setting=setting,
            kinds=kinds,
        )
    nobody = "Asks nobody else: `incomplete`, and the reason reaches the viewer."
    yield Fault(
        name="filtered-prompt",
        words="A content filter refuses the prompt",
        conduct=nobody,
        primary=((_BLOCKED,),),
        events=(),
        end=filtered(error="content_filter"),
        calls=(1, 0),
    )
    yield Fault(
        name="filtered-rescue",
        words="The connection is closed in the middle of an answer, and the next time a filter refuses the prompt",
        conduct="The text stands, and nobody else is asked.",
        primary=((HALF, CLOSE), (_BLOCKED,)),
        events=(said(SAID), _CUT),
        end=filtered("estimated"),
        calls=(2, 0),
        gaps=_BACKOFFS[:1],
    )
    yield Fault(
        name="filtered-answer",
        words="A content filter ends the answer",
        conduct=nobody,
        primary=((HALF, finish("content_filter")),),
        events=(said(SAID),),
        end=filtered(USAGE),
        calls=(1, 0),
    )


FAULTS: tuple[Fault, ...] = (
    *_faults_before_the_answer(),
    *_faults_of_silence(),
    *_faults_within_the_answer(),
    *_bodies(),
    *_refusals(),
)

# The page

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
_BEGIN, _END = "<!-- rows of tests/support/faults.py -->\n", "<!-- end -->\n"


def page(old: str) -> str:
    """Return the page with its table as the rows are now."""
    before, _, rest = old.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{table()}\n{_END}{after}"


def table() -> str:
    """Return the rows in Markdown."""
    lines = [
        "| what the provider does | fallback | what streamsvc does | calls | the viewer gets | `done` |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for fault in FAULTS:
        has_fallback = "no" if fault.fallback is None else "yes"
        cells = (
            fault.words,
            has_fallback,
            fault.conduct,
            _calls(fault),
            _events(fault),
            _end(fault),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _calls(fault: Fault) -> str:
    primary, fallback = fault.calls
    return f"{primary} + {fallback}" if fault.fallback is not None else str(primary)


def _events(fault: Fault) -> str:
    kinds = (kind for kind, *_ in fault.events)
    return ", ".join(kind if kind == "text" else f"`{kind}`" for kind in kinds) or "nothing"


def _end(fault: Fault) -> str:
    end = fault.end
    usage = "usage" if isinstance(end.usage, Usage) else f"{end.usage or 'no'} usage"
    match end.status:
        case "completed":
            return f"`completed` by the {end.provider}, {usage}"
        case "incomplete":
            error = f", error `{end.error}`" if end.error else ""
            return f"`incomplete`, `{end.finish_reason}`{error}, {usage}"
        case _:
            return f"`failed`, `{end.outcome}`, `{end.error}`, {usage}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
