"""What happens in the service, for those who watch it: log lines, metrics and traces listen here.

Each thing that happens is a `Detail`, and is reported once, where it happens, with what is known then. Nothing is
reported for a token: the places that a token passes count for themselves, and report at their end.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from streamsvc.events import Done, Usage
from streamsvc.log_line import log
from streamsvc.traces import fields_of

logger = logging.getLogger(__name__)

GAP_BOUNDS = (
    *(0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
"""Upper bounds of the classes of gaps, in seconds: those of OpenTelemetry's GenAI conventions, and a shorter one."""

ResumeResult = Literal["resumed", "replayed", "complete", "gone"]
"""What a client with a cursor gets: the rest; all from the `start`; nothing more (204); a `done` that says it is lost."""

DropReason = Literal["finished", "left", "too_slow", "lost", "interrupted", "broken_off"]
"""Why a viewer's stream ended: all was sent; the client left; it did not read; the log was lost; this process cannot get
the rest, but another one may; the dialect cannot say how the answer ended."""


class Gaps:
    """How long the gaps between the pieces of one stream were, in classes.

    The places that a piece passes write `counts[bisect_left(GAP_BOUNDS, gap)] += 1` themselves: a call would cost more
    than the counting.

    Attributes:
        counts: how many gaps are in each class of `GAP_BOUNDS`; the last one has those beyond.
        seconds: all together.
    """

    __slots__ = ("counts", "seconds")

    def __init__(self, gaps: Sequence[float] = ()) -> None:
        self.counts = [0] * (len(GAP_BOUNDS) + 1)
        self.seconds = 0.0
        for gap in gaps:
            self.counts[bisect_left(GAP_BOUNDS, gap)] += 1
            self.seconds += gap

    def __len__(self) -> int:
        return sum(self.counts)


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one thing that happened. None holds anything of a prompt, an answer or a key."""


class GenerationStarted(Detail, frozen=True, kw_only=True):
    """An answer begins, or goes on in this process.

    Attributes:
        generation: its id.
        principal: the name of its owner; "" for anonymous.
        provider: the entry that is asked first.
        model: the model that is asked for.
        trace: the `traceparent` of its span; "" if it is not traced.
        parent: the `traceparent` that the client sent, or "".
        takes_over: how often its process had died or left before; 0: it is new.
    """

    generation: str
    principal: str
    provider: str
    model: str
    trace: str = ""
    parent: str = ""
    takes_over: int = 0


class FirstToken(Detail, frozen=True, kw_only=True):
    """The first piece of an answer has come; once for each answer and process.

    Attributes:
        generation: its id.
        provider: the entry that answers.
        model: the model that was asked for.
        seconds: since the generation began in this process.
        trace: as in `GenerationStarted`.
    """

    generation: str
    provider: str
    model: str
    seconds: float
    trace: str = ""


class CallEnded(Detail, frozen=True, kw_only=True):
    """One call to a provider has ended, well or not.

    Attributes:
        generation: the answer that it was made for.
        principal: the name of its owner.
        provider: the entry.
        kind: of its provider.
        model: the model that was asked for.
        answering_model: the model that answered, if the upstream names it.
        number: of the call, from 1, among those for this answer in this process.
        began_at: when, in seconds since 1970.
        seconds: how long it took.
        first_piece_seconds: how long until its first piece; None: there was none.
        gaps: between its pieces.
        pieces: how many came.
        has_begun: whether viewers had a piece of the answer when it ended, from this call or an earlier one.
        code: of the failure; "": it has not failed; `cancelled`: it was closed, because the answer was not wanted;
            `internal_error`: a bug.
        cause: the classes of the failure's causes, for a log line.
        setting: the setting of the entry that may be wrong, or "".
        finish_reason: why the model stopped; "" if it did not.
        usage: the upstream's count, if it sent one.
        url: the base URL of the upstream; "": the provider calls none.
        parameters: the request's parameters that are numbers or names, by their names in `Prompt`; only if it is
            recorded in a trace.
        trace: the `traceparent` of its span, which was sent to the upstream; "" if it is not traced.
    """

    generation: str
    principal: str
    provider: str
    kind: str
    model: str
    answering_model: str
    number: int
    began_at: float
    seconds: float
    first_piece_seconds: float | None
    gaps: Gaps
    pieces: int
    has_begun: bool
    code: str = ""
    cause: str = ""
    setting: str = ""
    finish_reason: str = ""
    usage: Usage | None = None
    url: str = ""
    parameters: Mapping[str, float | str] = {}
    trace: str = ""


class GenerationEnded(Detail, frozen=True, kw_only=True):
    """An answer has ended, or goes on in another process.

    Attributes:
        generation: its id.
        principal: the name of its owner.
        end: `finished`: its `Done` is stored; else another process goes on with it, or will.
        model: the last one that was asked for; that of `done` is the one that answered, if the upstream names it.
        done: how it ended; of one that goes on elsewhere only provider and model are true.
        began_at: when it began in this process, in seconds since 1970.
        seconds: how long it ran in this process.
        first_token_seconds: how long until its first piece; None: there was none in this process.
        calls: how many calls were made in this process.
        pieces: how many pieces came in this process, of all calls.
        unwatched_pieces: how many of them came after the last viewer had left and before another one joined.
        max_tokens: the limit that the client has set, or None.
        viewers: how many viewers have joined in this process.
        created_at: when it began in its first process, in seconds since 1970; as `began_at` if it is not traced.
        trace: as in `GenerationStarted`.
        parent: as in `GenerationStarted`.
        takes_over: as in `GenerationStarted`.
    """

    generation: str
    principal: str
    end: Literal["finished", "handed_over", "taken_over"]
    model: str
    done: Done
    began_at: float
    seconds: float
    first_token_seconds: float | None
    calls: int
    pieces: int = 0
    unwatched_pieces: int = 0
    max_tokens: int | None = None
    viewers: int = 0
    created_at: float = 0.0
    trace: str = ""
    parent: str = ""
    takes_over: int = 0


class ViewerJoined(Detail, frozen=True, kw_only=True):
    """A client begins to watch an answer.

    Attributes:
        generation: the answer.
        dialect: the wire format, as `Dialect.name`.
        after: the number of the last record that it has; below 0: none.
        trace: the `traceparent` of its request's span; "" if it is not traced.
    """

    generation: str
    dialect: str
    after: int
    trace: str = ""


class ViewerLeft(Detail, frozen=True, kw_only=True):
    """A client's stream has ended.

    Attributes:
        generation: the answer.
        dialect: as in `ViewerJoined`.
        reason: why it ended.
        began_at: when the client joined, in seconds since 1970.
        seconds: how long it watched.
        first_frame_seconds: from joining to the first words that were written to it; None: there were none.
        gaps: between the writes of frames.
        sent_bytes: of frames.
        keepalives: how many were written in silence.
        trace: the `traceparent` of its request's span; "" if it is not traced.
    """

    generation: str
    dialect: str
    reason: DropReason
    began_at: float
    seconds: float
    first_frame_seconds: float | None
    gaps: Gaps
    sent_bytes: int
    keepalives: int
    trace: str = ""


class Resumed(Detail, frozen=True, kw_only=True):
    """A client came back with a cursor.

    Attributes:
        generation: the answer.
        result: what it gets.
        replayed: how many stored records it gets at once, as far as that is known here.
    """

    generation: str
    result: ResumeResult
    replayed: int = 0


class RequestEnded(Detail, frozen=True, kw_only=True):
    """A request has been answered, or its client has left.

    Attributes:
        method: of the request.
        route: the path of the route that answered, such as `/v1/generations/{id}`; `*` if none did.
        status: of the response; 0: the client left before it began.
        began_at: when it came, in seconds since 1970.
        seconds: how long it took to the end of the response.
        first_byte_seconds: how long to the head of the response; None: there was none.
        principal: the name of the caller, or "".
        generation: the answer that it is about, or "".
        trace: the `traceparent` of its span; "" if it is not traced.
        parent: the `traceparent` that the client sent, or "".
    """

    method: str
    route: str
    status: int
    began_at: float
    seconds: float
    first_byte_seconds: float | None
    principal: str = ""
    generation: str = ""
    trace: str = ""
    parent: str = ""


class Refused(Detail, frozen=True, kw_only=True):
    """A request was refused.

    Attributes:
        status: of the response.
        code: of the refusal.
        method: of the request.
        path: of the request, only what looks like a name.
        details: for the log line, by name.
    """

    status: int
    code: str
    method: str
    path: str
    details: Mapping[str, str] = msgspec.field(default_factory=dict)


class CircuitChanged(Detail, frozen=True, kw_only=True):
    """A provider keeps failing, or works again.

    Attributes:
        provider: the entry.
        state: `open` or `closed`.
        failures: how many calls failed one after another.
        seconds: how long it is skipped.
    """

    provider: str
    state: Literal["open", "closed"]
    failures: int = 0
    seconds: float = 0.0


class StoreChanged(Detail, frozen=True, kw_only=True):
    """The shared store cannot be used, or can again; or has become slow, or fast again.

    Attributes:
        state: what it is now.
        reason: why it cannot be used, or could not.
        seconds: for how long it could not be used; of `slow` and `fast`, how long a command took.
        cause: the classes of the failure's causes.
        advice: what to look at.
    """

    state: Literal["lost", "back", "slow", "fast"]
    reason: str = ""
    seconds: float = 0.0
    cause: str = ""
    advice: str = ""


class SettingsReloaded(Detail, frozen=True, kw_only=True):
    """New requests have other settings from now on.

    Attributes:
        changed: the names of the settings that changed, such as `providers.openai.model`; not their values.
    """

    changed: Sequence[str]


class StoreState(NamedTuple):
    """The state of the shared store.

    Attributes:
        is_up: whether it can be used.
        seconds: how long its latest command took; None: there was none.
    """

    is_up: bool
    seconds: float | None


class StoreReason(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator should know about the store.

    Attributes:
        code: `store_` and the reason of a `StoreChanged`, or `store_slow`.
        seconds: for how long it cannot be used; None: it can.
        ms: how long the latest slow command took; None: it is not slow.
    """

    code: str
    seconds: float | None = None
    ms: int | None = None


D = TypeVar("D", bound=Detail)


class Hooks:
    """Passes what happens to listeners. A listener is called at once, in the event loop; it must not wait."""

    def __init__(self) -> None:
        self._listeners: dict[type[Detail], list[Callable[[Any], object]]] = {}

    def listen(self, kind: type[D], listener: Callable[[D], object]) -> None:
        """Call a listener for each detail of a kind, after those that listen already."""
        self._listeners.setdefault(kind, []).append(listener)

    def notify(self, detail: Detail) -> None:
        """Call the listeners. One that fails is logged, and harms nothing else."""
        for listener in self._listeners.get(type(detail), ()):
            try:
                listener(detail)
            except Exception as exc:  # noqa: BLE001  # whatever a listener raises: answers go on
                kind = type(detail).__name__
                log(logger, logging.ERROR, "hook.crashed", kind=kind, **fields_of(exc))
