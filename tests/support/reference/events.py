"""The tables and examples of `docs/reference/events.md`, from the structs of the events and the native dialect."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, get_args

from streamsvc.dialects.native.frames import NativeDialect
from streamsvc.dialects.sse import EVENT_NAMES, lost_block
from streamsvc.events import (
    Done,
    Event,
    Logprobs,
    Outcome,
    Progress,
    PublicError,
    Reasoning,
    Record,
    Refusal,
    Restart,
    Start,
    Status,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
    Usage,
)
from streamsvc.provider_errors import ProviderRateLimited, UpstreamCut
from streamsvc.web.openapi.schemas import schemas
from support.reference.markdown import anchor, attributes_of, sentences, summary_of, table

GENERATION = "gen_cpnzhjd76rdyqdjg7zjvnyhiw4tmoj75"

EXAMPLES: Sequence[tuple[int, Event]] = (
    (0, Start(generation=GENERATION, provider="fake", model="words", created=1795342001)),
    (1, Text("FastAPI ")),
    (1, Reasoning("The user greets me.")),
    (1, ToolCallBegun(index=0, id="call_1", name="get_weather")),
    (2, ToolCallArguments(index=0, arguments='{"city": "Paris"}')),
    (3, ToolCallReady(index=0, id="call_1", name="get_weather", arguments='{"city": "Paris"}')),
    (1, Refusal("I cannot help with that.")),
    (2, Logprobs(({"token": "Fast", "logprob": -0.02, "bytes": [70, 97, 115, 116]},))),
    (5, Restart(reason=UpstreamCut.code, provider="gemini", model="gemini-3.8-flash")),
    (1, Progress(state="retrying", provider="openai", reason=ProviderRateLimited.code)),
    (
        8,
        Done(
            status=Status.COMPLETED,
            finish_reason="stop",
            provider_finish_reason="stop",
            outcome=Outcome.COMPLETED,
            provider="fake",
            model="words",
            usage=Usage(input_tokens=1, output_tokens=7),
        ),
    ),
)
"""An event of each kind, with its number, in the order of the page."""

FAILED = Done(
    status=Status.FAILED,
    finish_reason="error",
    outcome=Outcome.UPSTREAM_CUT,
    provider="openai",
    model="gpt-5.4-mini",
    usage=Usage(input_tokens=4, output_tokens=57, estimated=True),
    error=PublicError(UpstreamCut.code, UpstreamCut.message, retryable=True),
)

VALUES: Mapping[type[StrEnum], str] = {Status: "done.status", Outcome: "done.outcome"}
"""The sections about the values of a field."""

PARTS: Mapping[type, str] = {Usage: "done.usage", PublicError: "done.error"}
"""The sections about the objects in a field."""


def kinds() -> Sequence[type[Event]]:
    """Return the classes of all events."""
    return get_args(Event)


def overview() -> str:
    """Return a table of the events."""
    rows = ((f"[{heading(kind)}](#{anchor(heading(kind))})", summary_of(kind)) for kind in _order())
    return table(("event", "what it says"), rows)


def details() -> str:
    """Return a section for each event: when it comes, its fields, an example."""
    return "\n".join(_section(seq, event) for seq, event in EXAMPLES)


def failed() -> str:
    """Return examples of a `done` that reports a failure."""
    return f"{_block(57, FAILED)}\n{_fence(lost_block(GENERATION))}"


def values() -> str:
    """Return the values of `status` and `outcome`."""
    return "\n".join(_values(kind, field) for kind, field in VALUES.items())


def parts() -> str:
    """Return the fields of `usage` and `error`."""
    return "\n".join(
        f"### `{field}`\n\n{sentences(summary_of(kind))}\n\n{_fields(kind)}"
        for kind, field in PARTS.items()
    )


def heading(kind: type[Event]) -> str:
    """Return the heading of an event: its name, and its `type` if that is not the same."""
    name = EVENT_NAMES[kind].decode().removeprefix("event: ").strip()
    tag = str(kind.__struct_config__.tag)
    if not name:
        return f"`{tag}` (no event name)"
    return f"`{tag}`" if name == tag else f"`{name}`: `{tag}`"


def _order() -> Iterator[type[Event]]:
    for _, event in EXAMPLES:
        yield type(event)


def _section(seq: int, event: Event) -> str:
    kind = type(event)
    return (
        f"### {heading(kind)}\n\n{sentences(summary_of(kind))}\n\n{_fields(kind)}\n"
        f"{_block(seq, event)}"
    )


def _fields(kind: type) -> str:
    schema = schemas()[kind.__name__]
    meanings, required = attributes_of(kind), set(schema["required"])
    rows = []
    for name, shape in schema["properties"].items():
        if name == "type":
            continue
        there = "always" if name in required else "if it says something"
        rows.append((f"`{name}`", _type(shape), there, meanings[name]))
    return table(("field", "type", "present", "meaning"), rows)


def _type(shape: Mapping[str, Any]) -> str:
    """Describe a JSON Schema in words."""
    match shape:
        case {"$ref": str(target)}:
            kind = target.rpartition("/")[2]
            field = next(it for known, it in _linked() if known.__name__ == kind)
            return f"[{'string' if kind in {'Status', 'Outcome'} else 'object'}](#{anchor(field)})"
        case {"anyOf": [{"enum": _}, *_] as enums}:
            return _type({"enum": sorted(value for it in enums for value in it["enum"])})
        case {"anyOf": options}:
            return " or ".join(map(_type, options))
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case _:
            item = shape.get("items") or shape.get("additionalProperties")
            return f"{shape['type']} of {item['type']}s" if item else str(shape["type"])


def _linked() -> Iterator[tuple[type, str]]:
    yield from VALUES.items()
    yield from PARTS.items()


def _values(kind: type[StrEnum], field: str) -> str:
    meanings = attributes_of(kind)
    rows = ((f"`{value}`", meanings[value.name]) for value in kind)
    return f"### `{field}`\n\n{sentences(summary_of(kind))}\n\n{table(('value', 'meaning'), rows)}"


def _block(seq: int, event: Event) -> str:
    return _fence(NativeDialect().frame(Record(GENERATION, seq, event)))


def _fence(block: bytes) -> str:
    return f"```text\n{block.decode().strip()}\n```\n"
