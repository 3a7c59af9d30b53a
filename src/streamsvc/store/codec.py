"""Events as they are stored, and record numbers as ids of a Redis stream.

Text is stored as it is, because an answer has many pieces of it; other events are JSON.
"""

import msgspec

from streamsvc.events import Event, Reasoning, Record, Text

_TEXT, _REASONING, _JSON = "tre"
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(event: Event | str) -> str:
    """Return an event, or the text of a `Text`, as it is stored, in UTF-8."""
    if type(event) is str:
        return _TEXT + event
    if type(event) is Text:
        return _TEXT + event.text
    if type(event) is Reasoning:
        return _REASONING + event.text
    return _JSON + _encoder.encode(event).decode()


def decode(stored: bytes) -> Event:
    """Return the event that `encode` made into this."""
    kind, rest = stored[:1].decode(), stored[1:]
    if kind == _TEXT:
        return Text(rest.decode())
    if kind == _REASONING:
        return Reasoning(rest.decode())
    return _decoder.decode(rest)


def stream_id(seq: int) -> str:
    """Return the id of a record; for -1, the id before all records."""
    if seq <= 0:
        return f"0-{seq + 1}"
    return f"{seq}-0"


class RecordUnreadable(Exception):
    """A stored record is not one of ours, or a later version has stored it."""


def records(generation: str, entries: list[tuple[bytes, list[bytes]]]) -> list[Record]:
    """Return entries of a Redis stream as records.

    Raises:
        RecordUnreadable: one of them cannot be decoded.
    """
    try:
        return [
            Record(generation, int(name.partition(b"-")[0]), decode(fields[1]))
            for name, fields in entries
        ]
    except (msgspec.MsgspecError, ValueError, IndexError) as exc:
        raise RecordUnreadable from exc


def previous_of(fields: list[bytes]) -> int | None:
    """Return the number of the record before an entry that begins an epoch; None for another entry."""
    return int(fields[3]) if len(fields) > 3 else None  # noqa: PLR2004  # two pairs
