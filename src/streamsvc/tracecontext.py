"""Trace contexts as they travel in the header `traceparent` (W3C Trace Context, level 2).

A span is known before it is exported, or without any exporter: its ids are made here, so that the request to the
upstream, log lines and exemplars can carry them.

`tracestate` is neither read nor passed on: other systems' data would reach the APIs of model vendors, which have no use
for it.
"""

import os
import re
import time
from typing import Protocol

import msgspec
from typing_extensions import override

_SAMPLED = 0x01
_RANDOM = 0x02

_FORM = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
"""Section 3.2.2. A later version may have more fields; the first four are read as those of version 00 (section 3.2.4)."""


class TraceContext(msgspec.Struct, frozen=True, kw_only=True):
    """A span of a trace, as others refer to it.

    Attributes:
        trace_id: 32 lower-case hexadecimal digits, not all zero.
        span_id: 16 of them.
        is_sampled: whether the trace is recorded.
        is_random: whether the last 14 digits of `trace_id` are random; samplers may rely on them.
    """

    trace_id: str
    span_id: str
    is_sampled: bool = False
    is_random: bool = False

    @property
    def traceparent(self) -> str:
        """The header's value, in version 00."""
        flags = _SAMPLED * self.is_sampled + _RANDOM * self.is_random
        return f"00-{self.trace_id}-{self.span_id}-{flags:02x}"

    def child(self, *, is_sampled: bool | None = None) -> "TraceContext":
        """Return a new span of the same trace.

        Args:
            is_sampled: whether it is recorded; None: as this one is.
        """
        return TraceContext(
            trace_id=self.trace_id,
            span_id=_random_id(8),
            is_sampled=self.is_sampled if is_sampled is None else is_sampled,
            is_random=self.is_random,
        )


def new_trace() -> TraceContext:
    """Return the first span of a new trace. Whether it is sampled is not decided yet."""
    return TraceContext(trace_id=_random_id(16), span_id=_random_id(8), is_random=True)


def parse(traceparent: str) -> TraceContext | None:
    """Return the span that a `traceparent` names; None if it is not valid, and must be ignored (section 3.2.2)."""
    found = _FORM.fullmatch(traceparent.strip(" \t"))
    if found is None or (found["version"] == "00" and found["rest"]):
        return None
    flags = int(found["flags"], 16)
    return TraceContext(
        trace_id=found["trace"],
        span_id=found["span"],
        is_sampled=bool(flags & _SAMPLED),
        is_random=bool(flags & _RANDOM),
    )


def sampled(traceparent: str) -> TraceContext | None:
    """Return the span that a `traceparent` names, if it is recorded; None also for ""."""
    span = parse(traceparent) if traceparent else None
    return span if span is not None and span.is_sampled else None


class RequestTrace(msgspec.Struct):
    """The trace of a request.

    Attributes:
        own: its span. Without a parent, it is sampled if the generation is that the request creates.
        parent: the client's span; None: it has sent none.
    """

    own: TraceContext
    parent: TraceContext | None = None


class GenerationTrace(msgspec.Struct, frozen=True, kw_only=True):
    """The span of a generation: one for its whole life, whichever processes it runs in.

    Attributes:
        own: its `traceparent`.
        parent: the `traceparent` that the client sent, or "".
        began_at: when it was created, in seconds since 1970.
    """

    own: str
    parent: str
    began_at: float

    def child(self) -> str:
        """Return the `traceparent` of a new span below it; "" if there is none."""
        own = parse(self.own)
        return own.child().traceparent if own else ""


UNTRACED = GenerationTrace(own="", parent="", began_at=0.0)
"""Of a generation that has no span."""


class Sampling(Protocol):
    """Decides which traces are recorded.

    Attributes:
        is_on: whether spans are recorded at all. If not, a trace only passes through, and none begins here.
    """

    is_on: bool

    def samples(self, trace: TraceContext, parent: TraceContext | None) -> bool:
        """Return whether a trace is recorded; asked once, when it comes or begins here.

        Args:
            trace: the first span here; its own flag does not count yet.
            parent: the client's; None: the trace begins here.
        """
        ...


class PassingOn(Sampling):
    """Records nothing: what the client has decided is passed on."""

    is_on = False

    @override
    def samples(self, trace: TraceContext, parent: TraceContext | None) -> bool:
        return parent is not None and parent.is_sampled


class Traces:
    """Makes the spans of requests and generations.

    Args:
        sampling: decides which are recorded.
    """

    def __init__(self, sampling: Sampling | None = None) -> None:
        self._sampling = sampling or PassingOn()

    def request(self, traceparent: str) -> RequestTrace | None:
        """Return the trace of a request; None: it has none.

        Args:
            traceparent: what the client has sent; "" or invalid: nothing.
        """
        parent = parse(traceparent) if traceparent else None
        if parent is not None:
            is_sampled = self._sampling.samples(parent, parent)
            return RequestTrace(parent.child(is_sampled=is_sampled), parent)
        return RequestTrace(new_trace()) if self._sampling.is_on else None

    def generation(self, asked_by: RequestTrace | None) -> GenerationTrace | None:
        """Return the trace of a new generation; None: it has none.

        It is a child of the client's span, not of its request's, and else the root of the request's trace: a request
        may be lost with its process, which the generation outlives.

        Args:
            asked_by: the trace of the request that it is for.
        """
        if asked_by is None and not self._sampling.is_on:
            return None
        first, parent = (asked_by.own, asked_by.parent) if asked_by else (new_trace(), None)
        is_sampled = first.is_sampled if parent else self._sampling.samples(first, None)
        if asked_by and is_sampled and not parent:
            asked_by.own = msgspec.structs.replace(first, is_sampled=True)
        return GenerationTrace(
            own=(parent or first).child(is_sampled=is_sampled).traceparent,
            parent=parent.traceparent if parent else "",
            began_at=time.time(),
        )


def _random_id(size: int) -> str:
    """Return a random id, which is not all zero (sections 3.2.2.3 and 3.2.2.4)."""
    while not any(data := os.urandom(size)):
        pass
    return data.hex()
