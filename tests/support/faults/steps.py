"""Faults of a provider as steps and scripts of `upstreams`."""

from collections.abc import Mapping

import anyio

from streamsvc.events import Usage
from support.faults.row import (
    DEADLINE_SECONDS,
    HALF,
    KEY,
    PAUSE_SECONDS,
    REST,
    SAID,
    SILENT_SECONDS,
    retrying,
)
from support.upstreams import (
    CLOSE,
    GEMINI,
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
)


def by_api(*, openai: Step, gemini: Step) -> Step:
    return lambda to: (gemini if to.call.wire is GEMINI else openai)(to)


def error(code: int, message: str, openai_code: str, gemini_status: str) -> Step:
    """Answer with an error in the words of each API."""
    kind = "server_error" if code >= 500 else "invalid_request_error"
    return by_api(
        openai=status(code, {"error": {"message": message, "type": kind, "code": openai_code}}),
        gemini=status(code, {"error": {"code": code, "message": message, "status": gemini_status}}),
    )


def patience(seconds: float) -> Step:
    """Answer 429 and say when to retry: in a header, or in the details of Gemini's error."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [info]}
    return by_api(
        openai=status(429, headers={"Retry-After": f"{seconds}"}),
        gemini=status(429, {"error": error}),
    )


async def dribble(to: Exchange) -> None:
    """Send everything except tokens, again and again."""
    while True:
        await to.send(b": keepalive\n\n")
        await to.send(to.call.wire.empty())
        await anyio.sleep(DEADLINE_SECONDS / 6)


RATE_LIMITED = error(429, "Slow down.", "rate_limit_exceeded", "RESOURCE_EXHAUSTED")
BROKEN = error(500, "Oh.", "internal_error", "INTERNAL")
DOWN = error(503, "Later.", "overloaded", "UNAVAILABLE")
GATEWAY = error(504, "Nobody answers.", "timeout", "DEADLINE_EXCEEDED")
STAY_SILENT: Step = lambda _: anyio.sleep(SILENT_SECONDS)  # noqa: E731
TOO_LONG = error(
    400,
    "The input token count exceeds the maximum context length.",
    "context_length_exceeded",
    "INVALID_ARGUMENT",
)
BAD_KEY = error(401, f"Incorrect API key: {KEY}", "invalid_api_key", "UNAUTHENTICATED")
NOT_ALLOWED = error(403, f"{KEY} may not.", "not_allowed", "PERMISSION_DENIED")
NO_MODEL = error(404, "No such model.", "model_not_found", "NOT_FOUND")
MODEL_IN_400 = error(400, "Invalid model: no-such-model", "invalid_model", "INVALID_ARGUMENT")
NO_QUOTA = error(429, "You have used it up.", "insufficient_quota", "insufficient_quota")
TOO_LONG_IN_STREAM = raw(frame({"error": {"code": 400, "message": "The prompt is too long."}}))
TOO_LONG_EVENT = raw(b'event: error\ndata: {"detail": "The prompt is too long."}\n\n')
GOOGLES_BAD_KEY = status(
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
BLOCKED = by_api(
    openai=error(400, "The prompt was filtered.", "content_filter", ""),
    gemini=raw(frame({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})),
)
ERROR_IN_STREAM = by_api(
    openai=raw(frame({"error": {"message": "Oh.", "type": "server_error", "code": None}})),
    gemini=raw(frame({"error": {"code": 503, "message": "Oh.", "status": "UNAVAILABLE"}})),
)
NO_JSON = raw(b'data: {"choices": [{"delta"\n\n')
NO_UTF8: Step = lambda to: to.send(to.call.wire.token("is ~").replace(b"~", b"\xff"))  # noqa: E731
LINE_BYTES = 4096
LONG_LINE = raw(b"data: " + b"x" * (4 * LINE_BYTES), piece_bytes=1000)
NO_DONE = by_api(
    openai=lambda to: to.send(to.call.wire.finish("stop", USAGE).removesuffix(b"data: [DONE]\n\n")),
    gemini=finish(),
)

ZERO = Usage(input_tokens=0, output_tokens=0, reasoning_tokens=0)
REASON: Step = lambda to: to.send(to.call.wire.reason("stop"))  # noqa: E731
COUNTED: Step = lambda to: to.send(to.call.wire.counted(USAGE))  # noqa: E731
ZEROS: Step = lambda to: to.send(to.call.wire.stamped("", usage=ZERO))  # noqa: E731
PAUSE: Step = lambda _: anyio.sleep(PAUSE_SECONDS)  # noqa: E731
NO_BLANK_LINE: Step = lambda to: to.send(to.call.wire.stamped("", usage=USAGE).rstrip(b"\r\n"))  # noqa: E731
ONE_JSON: Step = lambda to: status(200, to.call.wire.whole(SAID + REST))(to)  # noqa: E731
PAGE = body(b"<!doctype html><title>Sign in</title>", "text/html")


def stamped(*words: str) -> Step:
    """Send words, each with a finish reason."""
    return lambda to: to.send_tokens(map(to.call.wire.stamped, words))


# The shortest waits: the second half of a backoff is random.
BACKOFF_SECONDS = 0.04
BACKOFFS = (BACKOFF_SECONDS / 2, BACKOFF_SECONDS)

AGAIN = retrying("provider_unavailable")
CUT = retrying("upstream_cut")
ODD = retrying("upstream_invalid")

ENDS: Mapping[str, tuple[Script, str]] = {
    "eof": ((HALF, CLOSE), "The connection is closed in the middle of an answer"),
    "reset": ((HALF, RESET), "The connection is reset in the middle of an answer"),
    "tidy": ((HALF,), "The answer ends normally, but without a finish reason"),
}
