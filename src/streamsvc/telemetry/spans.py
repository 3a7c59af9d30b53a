"""The spans of generations, calls and requests: made when each has ended, with the ids and times that it had.

    client's span
    ├── GET /stream-ai          SERVER, links to the generation
    └── streamsvc.generation    INTERNAL, from its beginning to its end, in however many processes
        ├── chat gpt-5          CLIENT, a call that failed
        └── chat gpt-5          CLIENT, the call that answered; its id is in the upstream's request

If the client has sent no `traceparent`, the generation is the root, and the request that created it is its child; each
other viewer's request is a root of its own with a link.

What is not sampled gets no span. An unfinished span is lost with its process; the process that takes the
generation over makes the generation's span, with the same ids.
"""

from collections.abc import Mapping, Sequence

import msgspec
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from typing_extensions import override

from streamsvc.hooks import (
    CallEnded,
    GenerationEnded,
    GenerationStarted,
    Hooks,
    RequestEnded,
    ViewerJoined,
    ViewerLeft,
)
from streamsvc.telemetry.attributes import (
    Attributes,
    of_call,
    of_generation,
    of_request,
    request_error,
)
from streamsvc.telemetry.conventions import Convention, operation_of
from streamsvc.tracecontext import TraceContext, parse, sampled

GENERATION = "streamsvc.generation"
"""The name of a generation's span."""

MAX_ENDED = 10_000
"""The ids of how many ended generations are kept: a viewer of an older one gets no link."""


class GivenIds(IdGenerator):
    """Gives the next span the ids that it has already.

    Attributes:
        next: has them.
    """

    def __init__(self) -> None:
        self.next = TraceContext(trace_id="0" * 32, span_id="0" * 16)

    @override
    def generate_trace_id(self) -> int:
        return int(self.next.trace_id, 16)

    @override
    def generate_span_id(self) -> int:
        return int(self.next.span_id, 16)

    @override
    def is_trace_id_random(self) -> bool:
        return self.next.is_random


class _Span(msgspec.Struct, kw_only=True):
    """A span to be made.

    Attributes:
        name: of the span.
        kind: of the span.
        own: its ids.
        parent: the span above it, if there is one.
        is_remote: whether that is another service's.
        began_at: in seconds since 1970.
        ended_at: the same.
        attributes: what it says.
        links: other spans that it refers to.
        events: what happened, and when.
        error: its `error.type`; "": it went well.
    """

    name: str
    kind: SpanKind
    own: TraceContext
    parent: TraceContext | None
    is_remote: bool = False
    began_at: float
    ended_at: float
    attributes: Attributes
    links: Sequence[TraceContext] = ()
    events: Mapping[str, float] = {}
    error: str = ""


class _Viewing(msgspec.Struct):
    """A request that watches an answer: its end and its viewer's are reported one after the other."""

    request: RequestEnded | None = None
    left: ViewerLeft | None = None


class Spans:
    """Makes the spans of what the hooks report.

    Args:
        hooks: report it.
        provider: exports the spans; it samples all that it gets.
        ids: of the provider.
        convention: has the names of the attributes.
    """

    def __init__(
        self, hooks: Hooks, provider: TracerProvider, ids: GivenIds, convention: Convention
    ) -> None:
        self._tracer = provider.get_tracer("streamsvc")
        self._ids = ids
        self._convention = convention
        self._running: dict[str, TraceContext] = {}
        self._ended: dict[str, TraceContext] = {}
        self._viewings: dict[str, _Viewing] = {}
        hooks.listen(GenerationStarted, self._generation_started)
        hooks.listen(CallEnded, self._call_ended)
        hooks.listen(GenerationEnded, self._generation_ended)
        hooks.listen(ViewerJoined, self._viewer_joined)
        hooks.listen(ViewerLeft, self._viewer_left)
        hooks.listen(RequestEnded, self._request_ended)

    def _generation_started(self, it: GenerationStarted) -> None:
        if own := sampled(it.trace):
            self._running[it.generation] = own

    def _call_ended(self, it: CallEnded) -> None:
        if own := sampled(it.trace):
            self._make(
                _Span(
                    name=f"{operation_of(it.kind)[0]} {it.model}",
                    kind=SpanKind.CLIENT,
                    own=own,
                    parent=self._running.get(it.generation),
                    began_at=it.began_at,
                    ended_at=it.began_at + it.seconds,
                    attributes=of_call(it, self._convention),
                    error="" if it.code == "cancelled" else it.code,
                )
            )

    def _generation_ended(self, it: GenerationEnded) -> None:
        own = sampled(it.trace)
        if own is None:
            return
        self._running.pop(it.generation, None)
        self._ended[it.generation] = own
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        if it.end != "finished":  # the process that goes on with it makes the span
            return
        events = {"streamsvc.taken_over": it.began_at} if it.takes_over else {}
        if it.first_token_seconds is not None:
            events["streamsvc.first_token"] = it.began_at + it.first_token_seconds
        self._make(
            _Span(
                name=GENERATION,
                kind=SpanKind.INTERNAL,
                own=own,
                parent=parse(it.parent),
                is_remote=True,
                began_at=it.created_at,
                ended_at=it.began_at + it.seconds,
                attributes=of_generation(it),
                events=events,
                error=it.done.error.code if it.done.error else "",
            )
        )

    def _viewer_joined(self, it: ViewerJoined) -> None:
        if it.trace:
            self._viewings[it.trace] = _Viewing()

    def _viewer_left(self, it: ViewerLeft) -> None:
        if viewing := self._viewings.get(it.trace):
            viewing.left = it
            self._end_viewing(it.trace, viewing)

    def _request_ended(self, it: RequestEnded) -> None:
        if viewing := self._viewings.get(it.trace):
            viewing.request = it
            self._end_viewing(it.trace, viewing)
        else:
            self._make_request(it, None)

    def _end_viewing(self, trace: str, viewing: _Viewing) -> None:
        if viewing.request is not None and viewing.left is not None:
            del self._viewings[trace]
            self._make_request(viewing.request, viewing.left)

    def _make_request(self, it: RequestEnded, viewer: ViewerLeft | None) -> None:
        """Make the span of a request, if the client's trace is sampled, or its generation's if the client sent none."""
        own, parent = parse(it.trace), parse(it.parent)
        generation = self._running.get(it.generation) or self._ended.get(it.generation)
        if own is None or not (own.is_sampled or (parent is None and generation is not None)):
            return
        above, links = parent, () if generation is None else (generation,)
        if parent is None and generation is not None and generation.trace_id == own.trace_id:
            above, links = generation, ()
        self._make(
            _Span(
                name=it.method if it.route == "*" else f"{it.method} {it.route}",
                kind=SpanKind.SERVER,
                own=own,
                parent=above,
                is_remote=parent is not None,
                began_at=it.began_at,
                ended_at=it.began_at + it.seconds,
                attributes=of_request(it, viewer),
                links=links,
                error=request_error(it),
            )
        )

    def _make(self, it: _Span) -> None:
        """Make and export a span. The SDK asks the generator for ids, and puts the span into a queue when it ends."""
        self._ids.next = it.own
        above = Context()
        if it.parent is not None:
            parent = NonRecordingSpan(span_context(it.parent, is_remote=it.is_remote))
            above = set_span_in_context(parent, above)
        span = self._tracer.start_span(
            it.name,
            context=above,
            kind=it.kind,
            attributes=it.attributes,
            links=[Link(span_context(other, is_remote=False)) for other in it.links],
            start_time=_nanoseconds(it.began_at),
        )
        for name, at in it.events.items():
            span.add_event(name, timestamp=_nanoseconds(at))
        if it.error:
            span.set_attribute("error.type", it.error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(it.ended_at))


def span_context(it: TraceContext, *, is_remote: bool) -> SpanContext:
    """Return a trace context in the SDK's form."""
    flags = TraceFlags.SAMPLED * it.is_sampled + TraceFlags.RANDOM_TRACE_ID * it.is_random
    return SpanContext(int(it.trace_id, 16), int(it.span_id, 16), is_remote, TraceFlags(flags))


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
