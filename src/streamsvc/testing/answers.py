"""Reads native streams: from bytes to events, and from events to what a page would show."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import httpx2
import msgspec


class Event(msgspec.Struct, frozen=True):
    """One event of a native stream (docs/reference/http.md).

    Attributes:
        type: `start`, `text`, `reasoning`, `refusal`, `tool_call` … as in the event's data.
        id: the event's id, for `Last-Event-ID`; may be empty.
        data: the event's data.
    """

    type: str
    id: str
    data: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The text of a piece of text, reasoning or a refusal; empty for other events."""
        return str(self.data.get("text", ""))


class Call(msgspec.Struct, frozen=True):
    """A whole tool call, with its arguments as a JSON object."""

    id: str
    name: str
    arguments: Mapping[str, Any]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows at the end of a stream: a `restart` has cleared what came before it.

    Attributes:
        text: the answer.
        reasoning: what the model thought.
        refusal: the sentence with which it refused.
        calls: the tool calls.
        done: the data of the last event; empty if the stream broke off.
        events: all events.
    """

    text: str
    reasoning: str
    refusal: str
    calls: tuple[Call, ...]
    done: Mapping[str, Any]
    events: tuple[Event, ...]

    @property
    def status(self) -> str:
        """`completed`, `incomplete`, `failed` or `stopped`; empty if the stream broke off."""
        return str(self.done.get("status", ""))

    @property
    def error(self) -> str:
        """The code of the failure; empty without a failure."""
        return str((self.done.get("error") or {}).get("code", ""))


def parse_events(text: str) -> list[Event]:
    """Return the events of a whole stream."""
    response = httpx2.Response(
        200,
        headers={"Content-Type": "text/event-stream"},
        text=text,
        request=httpx2.Request("GET", "http://localhost"),
    )
    return [_event(block) for block in _blocks(response) if block.data]


async def read_events(response: httpx2.Response) -> AsyncIterator[Event]:
    """Yield the events of a response that streams, as they arrive.

    Raises:
        httpx2.SSEError: the response is not an event stream.
    """
    async for block in _blocks(response):
        if block.data:  # a lone `retry` has none
            yield _event(block)


async def read_answer(response: httpx2.Response) -> Answer:
    """Read a stream to its end, and return what it says."""
    return answer_of([event async for event in read_events(response)])


def answer_of(events: Iterable[Event]) -> Answer:
    """Return what the events of a stream say."""
    events = tuple(events)
    cuts = [at for at, event in enumerate(events) if event.type in ("start", "restart")]
    shown = events[cuts[-1] :] if cuts else events
    ready = (event.data for event in shown if event.type == "tool_call")
    return Answer(
        text=_joined(shown, "text"),
        reasoning=_joined(shown, "reasoning"),
        refusal=_joined(shown, "refusal"),
        calls=tuple(Call(it["id"], it["name"], json.loads(it["arguments"])) for it in ready),
        done=next((event.data for event in shown if event.type == "done"), {}),
        events=events,
    )


def _joined(events: Iterable[Event], kind: str) -> str:
    return "".join(event.text for event in events if event.type == kind)


def _blocks(response: httpx2.Response) -> httpx2.EventSource:
    return httpx2.EventSource(response, max_event_size=None)  # a whole answer may be one event


def _event(block: httpx2.ServerSentEvent) -> Event:
    data = json.loads(block.data)
    return Event(data["type"], block.id, data)
