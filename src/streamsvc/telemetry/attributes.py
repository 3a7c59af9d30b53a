"""What a span says of a call, a generation and a request. Nothing of a prompt, an answer, a key or a user is in it.

A call has the attributes of OpenTelemetry's GenAI conventions, and a request those of its HTTP conventions; the names
that begin with `streamsvc.` are our own. The usage of a generation has such names, because those who add up
`gen_ai.usage.*` would count its calls twice.

Sources: semantic-conventions v1.41, "gen-ai/gen-ai-spans" and "http/http-spans"; semantic-conventions-genai, "client
inference" (`conventions.Convention`).
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from streamsvc.events import Usage
from streamsvc.hooks import CallEnded, GenerationEnded, RequestEnded, ViewerLeft
from streamsvc.telemetry.conventions import Convention, operation_of

Value = str | bool | int | float | Sequence[str]
Attributes = dict[str, Value]

_PORTS = {"http": 80, "https": 443}

_PARAMETERS = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "max_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
}
_LATEST_PARAMETERS = {**_PARAMETERS, "reasoning_effort": "gen_ai.request.reasoning.level"}

_SERVER_ERROR = 500


def server_of(url: str) -> Attributes:
    """Return the address and the port of a base URL; nothing of an empty one."""
    parts = urlsplit(url)
    if not parts.hostname:
        return {}
    port = parts.port or _PORTS.get(parts.scheme, 0)
    return {"server.address": parts.hostname, "server.port": port}


def of_call(it: CallEnded, convention: Convention) -> Attributes:
    """Return the attributes of a call, by the names of a convention."""
    is_latest = convention is Convention.LATEST
    operation, vendor = operation_of(it.kind)
    made: Attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": vendor,
        "gen_ai.request.model": it.model,
        "gen_ai.request.stream": True,
        **server_of(it.url),
        "streamsvc.generation.id": it.generation,
        "streamsvc.provider": it.provider,
        "streamsvc.call.number": it.number,
        "streamsvc.call.pieces": it.pieces,
    }
    names = _LATEST_PARAMETERS if is_latest else _PARAMETERS
    made |= {names[name]: value for name, value in it.parameters.items() if name in names}
    if it.answering_model:
        made["gen_ai.response.model"] = it.answering_model
    if it.finish_reason:
        made["gen_ai.response.finish_reasons"] = [it.finish_reason]
    if it.first_piece_seconds is not None:
        made["gen_ai.response.time_to_first_chunk"] = it.first_piece_seconds
    if it.usage is not None:
        written = "cache_write" if is_latest else "cache_creation"
        made |= _usage("gen_ai.usage", it.usage, written=f"{written}.input_tokens")
    if it.code == "cancelled":
        made["streamsvc.call.cancelled"] = True
    return made


def of_generation(it: GenerationEnded) -> Attributes:
    """Return the attributes of a generation."""
    done = it.done
    made: Attributes = {
        "streamsvc.generation.id": it.generation,
        "streamsvc.outcome": done.outcome.value,
        "streamsvc.status": done.status.value,
        "streamsvc.finish_reason": done.finish_reason,
        "streamsvc.provider": done.provider,
        "streamsvc.model": done.model,
        "streamsvc.calls": it.calls,
        "streamsvc.viewers": it.viewers,
        "streamsvc.pieces": it.pieces,
        "streamsvc.unwatched_pieces": it.unwatched_pieces,
    }
    if it.takes_over:
        made["streamsvc.takeovers"] = it.takes_over
    if it.first_token_seconds is not None:
        made["streamsvc.first_token_seconds"] = it.first_token_seconds
    if done.usage is not None:
        made |= _usage("streamsvc.usage", done.usage, written="cache_write.input_tokens")
        made["streamsvc.usage.estimated"] = done.usage.estimated
    return made


def of_request(it: RequestEnded, viewer: ViewerLeft | None) -> Attributes:
    """Return the attributes of a request; *viewer* is what it got, if it watched an answer."""
    made: Attributes = {"http.request.method": "_OTHER" if it.method == "*" else it.method}
    if it.route != "*":
        made["http.route"] = it.route
    if it.status:
        made["http.response.status_code"] = it.status
    if it.generation:
        made["streamsvc.generation.id"] = it.generation
    if viewer is not None:
        made |= {
            "streamsvc.dialect": viewer.dialect,
            "streamsvc.viewer.end": viewer.reason,
            "streamsvc.viewer.sent_bytes": viewer.sent_bytes,
            "streamsvc.viewer.keepalives": viewer.keepalives,
        }
        if viewer.first_frame_seconds is not None:
            made["streamsvc.viewer.first_frame_seconds"] = viewer.first_frame_seconds
    return made


def request_error(it: RequestEnded) -> str:
    """Return the `error.type` of a request; "": it is not an error of the service."""
    return str(it.status) if it.status >= _SERVER_ERROR else ""


def _usage(prefix: str, usage: Usage, *, written: str) -> Attributes:
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning.output_tokens": usage.reasoning_tokens,
        "cache_read.input_tokens": usage.cached_tokens,
        written: usage.cache_write_tokens,
    }
    return {f"{prefix}.{name}": count for name, count in counts.items() if count is not None}
