"""What a generation has said so far, in one piece: its records, folded."""

from collections.abc import Sequence
from typing import assert_never

import msgspec

from streamsvc.events import (
    Done,
    FinishReason,
    Outcome,
    Progress,
    PublicError,
    Reasoning,
    Record,
    Restart,
    Start,
    Status,
    Text,
    Usage,
)


class Snapshot(msgspec.Struct, kw_only=True):
    """The answer so far; `status` is `running` until there is a `Done`."""

    id: str
    status: Status | str = "running"
    provider: str = ""
    model: str = ""
    created: int = 0
    metadata: dict[str, str] = {}
    text: str = ""
    reasoning: str = ""
    finish_reason: FinishReason | None = None
    provider_finish_reason: str | None = None
    outcome: Outcome | None = None
    usage: Usage | None = None
    error: PublicError | None = None
    last_event_id: str


def snapshot_of(records: Sequence[Record]) -> Snapshot:
    """Fold the records of one generation, from its `Start` on."""
    last = records[-1]
    snapshot = Snapshot(id=last.generation, last_event_id=f"{last.generation}.{last.seq}")
    for record in records:
        match record.event:
            case Start(provider=provider, model=model, created=created, metadata=metadata):
                snapshot.provider, snapshot.model = provider, model
                snapshot.created, snapshot.metadata = created, metadata
            case Restart(provider=provider, model=model):
                snapshot.provider, snapshot.model = provider, model
            case Done() as done:
                _finish(snapshot, done)
            case Text() | Reasoning() | Progress():
                pass
            case other:
                assert_never(other)
    pieces = standing(records)
    snapshot.text = "".join(piece.text for piece in pieces if isinstance(piece, Text))
    snapshot.reasoning = "".join(piece.text for piece in pieces if isinstance(piece, Reasoning))
    return snapshot


def standing(records: Sequence[Record]) -> list[Text | Reasoning]:
    """Return the pieces of the answer that stand: those behind the last `Restart`, if there is one."""
    pieces: list[Text | Reasoning] = []
    for record in records:
        if isinstance(record.event, Restart):
            pieces.clear()
        elif isinstance(record.event, Text | Reasoning):
            pieces.append(record.event)
    return pieces


def _finish(snapshot: Snapshot, done: Done) -> None:
    snapshot.status = done.status
    snapshot.provider, snapshot.model = done.provider, done.model
    snapshot.finish_reason = done.finish_reason
    snapshot.provider_finish_reason = done.provider_finish_reason
    snapshot.outcome = done.outcome
    snapshot.usage = done.usage
    snapshot.error = done.error
