"""What one viewer got, and when: kept while its stream runs, and reported at its end."""

import time
from bisect import bisect_left
from contextlib import AbstractContextManager
from typing import Self

from typing_extensions import override

from streamsvc.eventloop import now
from streamsvc.events import Logprobs, Reasoning, Refusal, Text, ToolCallArguments, ToolCallBegun
from streamsvc.hooks import GAP_BOUNDS, DropReason, Gaps, Hooks, ViewerJoined, ViewerLeft
from streamsvc.web.stream.wire import Wire

WORDS = frozenset({Text, Reasoning, Refusal, Logprobs, ToolCallBegun, ToolCallArguments})
"""The events that a viewer waits for."""


class Receipt(AbstractContextManager["Receipt"]):
    """What one viewer got; entered while it watches. Small, because every open stream has one.

    Args:
        generation: that it watches; also an attribute.
        dialect: the name of its wire format.
        after: the number of the last record that it has; below 0: none.
        hooks: get a report when it joins and leaves.
        trace: the `traceparent` of its request's span; "" if it is not traced.

    Attributes:
        reason: why the stream has ended, or would if it did now.
        first_at: when the first words were written, on the event loop's clock; None: none were.
        last_at: when the latest frames were written.
        gaps: between the writes of frames, from the first words on.
        sent_bytes: of frames.
        keepalives: how many were written in silence.
    """

    __slots__ = (
        "_after",
        "_began",
        "_began_at",
        "_dialect",
        "_hooks",
        "_trace",
        "first_at",
        "gaps",
        "generation",
        "keepalives",
        "last_at",
        "reason",
        "sent_bytes",
    )

    def __init__(
        self, generation: str, dialect: str, after: int, hooks: Hooks, trace: str = ""
    ) -> None:
        self.reason: DropReason = "left"
        self.first_at: float | None = None
        self.last_at = 0.0
        self.gaps = Gaps()
        self.sent_bytes = 0
        self.keepalives = 0
        self.generation = generation
        self._dialect = dialect
        self._after = after
        self._hooks = hooks
        self._trace = trace
        self._began = now()
        self._began_at = time.time()

    @override
    def __enter__(self) -> Self:
        self._hooks.notify(
            ViewerJoined(
                generation=self.generation,
                dialect=self._dialect,
                after=self._after,
                trace=self._trace,
            )
        )
        return self

    @override
    def __exit__(self, *exc: object) -> None:
        first_at = self.first_at
        if first_at is not None:
            self.gaps.seconds = self.last_at - first_at
        self._hooks.notify(
            ViewerLeft(
                generation=self.generation,
                dialect=self._dialect,
                reason=self.reason,
                began_at=self._began_at,
                seconds=now() - self._began,
                first_frame_seconds=None if first_at is None else first_at - self._began,
                gaps=self.gaps,
                sent_bytes=self.sent_bytes,
                keepalives=self.keepalives,
                trace=self._trace,
            )
        )

    def wrote(self, frames: bytes, *, has_words: bool) -> None:
        """Note a write of frames; `Viewer` does the same without a call.

        Args:
            frames: that were written.
            has_words: whether words were among them or among earlier ones.
        """
        at = now()
        if self.first_at is not None:
            self.gaps.counts[bisect_left(GAP_BOUNDS, at - self.last_at)] += 1
        elif has_words:
            self.first_at = at
        self.last_at = at
        self.sent_bytes += len(frames)

    def drop(self, wire: Wire) -> None:
        """Drop the viewer, which does not read."""
        self.reason = "too_slow"
        wire.abort()
