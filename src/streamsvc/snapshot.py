"""What a generation has said so far, in one piece: its records, folded."""

from collections.abc import Sequence
from typing import assert_never

import msgspec

from streamsvc.events import (
    Done,
    FinishReason,
    Outcome,
    PublicError,
    Reasoning,
    Record,
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
    text: list[str] = []
    reasoning: list[str] = []
    for record in records:
        match record.event:
            case Start(provider=provider, model=model, created=created, metadata=metadata):
                snapshot.provider, snapshot.model = provider, model
                snapshot.created, snapshot.metadata = created, metadata
            case Text(text=piece):
                text.append(piece)
            case Reasoning(text=piece):
                reasoning.append(piece)
            case Done() as done:
                _finish(snapshot, done)
            case other:
                assert_never(other)
    snapshot.text, snapshot.reasoning = "".join(text), "".join(reasoning)
    return snapshot


def _finish(snapshot: Snapshot, done: Done) -> None:
    snapshot.status = done.status
    snapshot.provider, snapshot.model = done.provider, done.model
    snapshot.finish_reason = done.finish_reason
    snapshot.provider_finish_reason = done.provider_finish_reason
    snapshot.outcome = done.outcome
    snapshot.usage = done.usage
    snapshot.error = done.error
