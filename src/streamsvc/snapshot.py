"""A generation's records, combined into one value batch by batch.

An answer may be long and other streams share the event loop, so the work per batch does not grow with the
answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import msgspec
from typing_extensions import override

from streamsvc.events import (
    Done,
    FinishReason,
    Logprobs,
    Outcome,
    Progress,
    PublicError,
    Reasoning,
    Record,
    Refusal,
    Restart,
    Start,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
    ToolEvent,
    Usage,
)

PIECE_DELTAS = 256
"""How many deltas are joined into one piece."""

PIECE_CHARS = 65_536
"""The maximum length of a joined piece."""


class LongText:
    """A long text in pieces, which are not joined, because that would take long."""

    __slots__ = ("_loose", "_pieces", "_size_bytes", "deltas")

    def __init__(self) -> None:
        self.clear()

    def __bool__(self) -> bool:
        return self.deltas > 0

    @override
    def __str__(self) -> str:
        return "".join(self.pieces)

    @property
    def pieces(self) -> Sequence[str]:
        """The whole text: each piece is many deltas, or a single long one."""
        self._join()
        return self._pieces

    @property
    def size_bytes(self) -> int:
        """The length of the whole text in UTF-8."""
        self._join()
        return self._size_bytes

    def clear(self) -> None:
        """Drop the whole text."""
        self._pieces: list[str] = []
        self._loose: list[str] = []
        self._size_bytes = self.deltas = 0

    def extend(self, deltas: Sequence[str]) -> None:
        """Add one or more deltas."""
        self.deltas += len(deltas)
        self._loose += deltas
        if len(self._loose) >= PIECE_DELTAS:
            self._join()

    def _join(self) -> None:
        loose, self._loose = self._loose, []
        if not loose:
            return
        pieces = ["".join(loose)] if sum(map(len, loose)) < PIECE_CHARS else loose
        self._pieces += pieces
        self._size_bytes += sum(len(it) if it.isascii() else len(it.encode()) for it in pieces)


class Standing:
    """The part of an answer that viewers have: everything after the last `Restart`, if there is one.

    Attributes:
        text: the answer's text.
        reasoning: the reasoning before it.
        refusal: the sentence with which the model refused.
        arguments: the arguments of tool calls so far.
        drafts: how many tool calls have begun.
        tool_calls: the complete tool calls.
        logprobs: how likely the tokens of the text were.
        refusal_logprobs: the same for the refusal.
    """

    def __init__(self) -> None:
        self.text = LongText()
        self.reasoning = LongText()
        self.refusal = LongText()
        self.arguments = LongText()
        self.drafts = 0
        self.tool_calls: list[ToolCallReady] = []
        self.logprobs: list[Any] = []
        self.refusal_logprobs: list[Any] = []

    @property
    def is_text(self) -> bool:
        """Whether there is nothing but text and reasoning."""
        return not (self.refusal or self.arguments)

    @property
    def has_begun(self) -> bool:
        """Whether viewers have anything."""
        return bool(self.text or self.reasoning or not self.is_text)

    @property
    def has_all_calls(self) -> bool:
        """Whether the answer is complete but for its `Done`: all of its tool calls are."""
        return 0 < self.drafts == len(self.tool_calls)

    def extend(self, records: Sequence[Record]) -> None:
        """Add the next records."""
        texts: list[str] = []
        thoughts: list[str] = []
        for record in records:
            match record.event:
                case Text(text=text):
                    texts.append(text)
                case Reasoning(text=text):
                    thoughts.append(text)
                case Restart():
                    texts.clear()
                    thoughts.clear()
                    self._clear()
                case Start() | Progress() | Done():
                    pass
                case rare:
                    self._add(rare)
        self.text.extend(texts)
        self.reasoning.extend(thoughts)

    def _add(self, event: Refusal | Logprobs | ToolEvent) -> None:
        match event:
            case Refusal(text=text):
                self.refusal.extend([text])
            case ToolCallBegun(name=name):
                self.drafts += 1
                self.arguments.extend([name])
            case ToolCallArguments(arguments=text):
                self.arguments.extend([text])
            case ToolCallReady() as call:
                self.tool_calls.append(call)
            case Logprobs(content=content, refusal=refused):
                self.logprobs += content
                self.refusal_logprobs += refused
            case other:
                assert_never(other)

    def _clear(self) -> None:
        for text in (self.text, self.reasoning, self.refusal, self.arguments):
            text.clear()
        self.drafts = 0
        self.tool_calls.clear()
        self.logprobs.clear()
        self.refusal_logprobs.clear()


class Snapshot(msgspec.Struct, kw_only=True):
    """The answer so far; `status` is `running` until the `Done`.

    Fields that most answers do not have are only in the JSON if they are present: tool calls (complete ones; they come
    at the end of the answer), a refusal, log probabilities, and what the provider wants back.
    """

    id: str = ""
    status: str = "running"
    provider: str = ""
    model: str = ""
    created: int = 0
    metadata: dict[str, str] = {}
    text: LongText
    reasoning: LongText
    finish_reason: FinishReason | None = None
    provider_finish_reason: str | None = None
    outcome: Outcome | None = None
    usage: Usage | None = None
    error: PublicError | None = None
    last_event_id: str = ""
    refusal: LongText | msgspec.UnsetType = msgspec.UNSET
    tool_calls: list[ToolCallReady] | msgspec.UnsetType = msgspec.UNSET
    logprobs: list[Any] | msgspec.UnsetType = msgspec.UNSET
    refusal_logprobs: list[Any] | msgspec.UnsetType = msgspec.UNSET
    provider_data: Mapping[str, Any] | msgspec.UnsetType = msgspec.UNSET
    dropped_parameters: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    adjusted_parameters: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class Folding:
    """Folds the records of one generation, starting with its `Start`, into `snapshot`."""

    def __init__(self) -> None:
        self._standing = Standing()
        self.snapshot = Snapshot(text=self._standing.text, reasoning=self._standing.reasoning)

    def extend(self, records: Sequence[Record]) -> None:
        """Fold the next records, at least one."""
        self._standing.extend(records)
        self._show_the_rest()
        last = records[-1]
        self.snapshot.id = last.generation
        self.snapshot.last_event_id = f"{last.generation}.{last.seq}"
        for record in records:
            match record.event:
                case Start(created=created, metadata=metadata) as start:
                    self._set_provider(start.provider, start.model)
                    self.snapshot.created, self.snapshot.metadata = created, metadata
                    self._set_parameters(start)
                case Progress(state="switching") as progress:
                    self._set_parameters(progress)
                case Restart(provider=provider, model=model):
                    self._set_provider(provider, model)
                case Done() as done:
                    self._finish(done)
                case _:  # `Standing` has it, or it does not last
                    pass

    def _show_the_rest(self) -> None:
        """Add what only some answers have, if this one has it."""
        standing, snapshot = self._standing, self.snapshot
        snapshot.refusal = standing.refusal or msgspec.UNSET
        snapshot.tool_calls = standing.tool_calls or msgspec.UNSET
        snapshot.logprobs = standing.logprobs or msgspec.UNSET
        snapshot.refusal_logprobs = standing.refusal_logprobs or msgspec.UNSET

    def _set_parameters(self, event: Start | Progress) -> None:
        """Note what the entry that is called now makes of the parameters."""
        self.snapshot.dropped_parameters = event.dropped_parameters or msgspec.UNSET
        self.snapshot.adjusted_parameters = event.adjusted_parameters or msgspec.UNSET

    def _set_provider(self, provider: str, model: str) -> None:
        self.snapshot.provider, self.snapshot.model = provider, model

    def _finish(self, done: Done) -> None:
        snapshot = self.snapshot
        snapshot.status = done.status
        self._set_provider(done.provider, done.model)
        snapshot.finish_reason = done.finish_reason
        snapshot.provider_finish_reason = done.provider_finish_reason
        snapshot.outcome = done.outcome
        snapshot.usage = done.usage
        snapshot.error = done.error
        snapshot.provider_data = done.provider_data
