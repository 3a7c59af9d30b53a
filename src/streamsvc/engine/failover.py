"""One answer, from as many calls to providers as it takes.

A failed call is retried where that may help; then the next entry of the route is called, within the
deadlines and a limited number of calls. Until the first token, viewers see at most a `status` event; after
it, their text is either continued exactly or replaced after a `restart`.
"""

import random
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import msgspec

from streamsvc.config.settings import GenerationSettings
from streamsvc.engine.attempt import Pace, attempt
from streamsvc.engine.entries import ProviderEntry, ProviderSlot, fit_of
from streamsvc.engine.report import CallReport
from streamsvc.engine.rescue import CatchUp
from streamsvc.eventloop import clock
from streamsvc.events import Delta, Event, Progress, Restart
from streamsvc.hooks import FirstToken, Hooks
from streamsvc.messages import GenerationRequest, Prompt
from streamsvc.provider_errors import (
    EmptyAnswer,
    NamedModelNotFound,
    ProviderError,
    ProviderModelNotFound,
    ProviderTimedOut,
)
from streamsvc.providers.base import Finish
from streamsvc.providers.fitting import Fit
from streamsvc.snapshot import Standing
from streamsvc.tracecontext import UNTRACED
from streamsvc.traces import drop_frames

WORKER_LOST = "worker_lost"
"""The reason why viewers see a retry or a restart after another process has taken over; the code of no error."""

_LEAST_BACKOFF = 0.5
"""The fraction of a backoff that is always waited; the rest is jitter, which spreads retries out."""


class Failover:
    """The calls that lead to one answer; start reading at `run`.

    Args:
        generation_id: for the hooks.
        request: what to generate, and for whom.
        slot: the generation's provider slot, acquired; its route lists the entries that may be called, in order.
        emit: writes an event for the viewers.
        read_answer: reads back the part of the answer that viewers have.
        settings: whether to rescue, and the maximum number of calls.
        hooks: get a report of each call.

    Attributes:
        entry: the one that answers; after a failure, the one whose failure is reported.
        model: the model that is requested from it.
        fit: what it makes of the prompt.
        calls: the number of calls so far.
        may_be_billed: whether a provider has begun to answer, or may have begun when the call was closed.
        began: when the answer began in this process, on the event loop's clock.
        first_token_seconds: how long after that its first piece came; None: there is none.
    """

    def __init__(  # noqa: PLR0913  # what it needs, passed by name
        self,
        generation_id: str,
        request: GenerationRequest,
        slot: ProviderSlot,
        *,
        emit: Callable[[Event], None],
        read_answer: Callable[[], Awaitable[Standing]],
        settings: GenerationSettings,
        hooks: Hooks,
    ) -> None:
        self.calls = 0
        self.may_be_billed = False
        self._id = generation_id
        self._request = request
        self._model = request.prompt.model
        self._slot = slot
        self._route = slot.route
        self._first = slot.route[0]  # the entry to call first
        self._earlier_calls = 0
        self._emit = emit
        self._read_answer = read_answer
        self._settings = settings
        self._hooks = hooks
        self._now = clock()
        self.began = self._now()
        self.first_token_seconds: float | None = None
        self._earlier_pieces = 0
        self._pace: Pace | None = None  # of the current or latest call
        self._end = 0.0
        self._use(slot.route[0])
        self._failures: list[tuple[ProviderEntry, ProviderError]] = []
        self._has_begun = False  # viewers have a token
        self._got_token = False  # the same, for the current or latest call
        self._broken_by = ""  # the code of the failure that cut the last call after its first token

    @property
    def pieces(self) -> int:
        """How many pieces have come, of all calls in this process."""
        return self._earlier_pieces + (self._pace.pieces if self._pace is not None else 0)

    def forget(self) -> None:
        """Drop the prompt, the errors, whose tracebacks refer to it, and the generation. Nothing can be called after that."""
        del self._request, self._read_answer, self.fit
        self._failures.clear()

    def take_over(self, standing: Standing, *, calls: int) -> None:
        """Go on with the answer of a process that is gone, beginning with the entry that holds the slot.

        Args:
            standing: the part of the answer that viewers have.
            calls: how many calls have been made for it, at least.
        """
        self._first = self._slot.entry
        self._use(self._first)
        self._earlier_calls = calls
        self._has_begun = self.may_be_billed = standing.has_begun
        self._broken_by = WORKER_LOST

    async def run(self) -> Finish:
        """Return how the answer ended; everything up to that has been emitted.

        Raises:
            ProviderError: there is no answer. Of several failures, this is the first one that is worth a new
                request later, else the first one.
        """
        self._end = self._now() + self._route[0].section.total_seconds
        if self._earlier_calls:
            self._emit(Progress(state="retrying", provider=self.entry.name, reason=WORKER_LOST))
        for entry in self._route[self._route.index(self._first) :]:
            if self._may_call and self._is_usable(entry) and (finish := await self._ask(entry)):
                return finish
        # If every circuit is open, call the entry that holds the slot anyway.
        if not self.calls and (finish := await self._ask(self._slot.entry)):
            return finish
        retryable = (failure for failure in self._failures if failure[1].retryable)
        entry, error = next(retryable, self._failures[0])
        self._use(entry)
        raise error

    async def _ask(self, entry: ProviderEntry) -> Finish | None:
        """Call one entry, with retries where they may help; return None when it has finally failed."""
        self._switch_to(entry)
        first_token_at = self._now() + entry.section.first_token_bound
        tries = 0
        while True:
            tries += 1
            try:
                with entry.circuit.call() as on_first_token:
                    return await self._call(entry, first_token_at, on_first_token)
            except ProviderError as error:
                self._failures.append((entry, error))
                drop_frames(error)
                if self._got_token:
                    self._broken_by = error.code
                    first_token_at = self._now() + entry.section.first_token_bound
                wait = self._seconds_to_retry(entry, error, tries, first_token_at)
                retrying = Progress(state="retrying", provider=entry.name, reason=error.code)
            if wait is None:
                return None
            self._emit(retrying)
            await anyio.sleep(wait)
            if not entry.circuit.admits and self._has_usable_after(entry):
                return None

    async def _call(
        self, entry: ProviderEntry, first_token_at: float, on_first_token: Callable[[], None]
    ) -> Finish:
        """Call one entry once; if viewers already have a token, fit the answer to what they have.

        Raises:
            ProviderError: it failed.
        """
        self.calls += 1
        self._got_token = False
        catch_up = await self._catch_up(entry) if self._has_begun else None
        report = self._new_report(entry)
        try:
            with report:
                try:
                    finish = report.finish = await attempt(
                        entry,
                        self._prompt_for(entry, report.trace),
                        first_token_at=first_token_at,
                        end=min(self._end, self._now() + entry.section.total_seconds),
                        on_first_token=partial(self._on_first_token, on_first_token),
                        emit=self._emit if catch_up is None else partial(self._emit_new, catch_up),
                        pace=report.pace,
                    )
                except ProviderModelNotFound as exc:
                    if self._named_model(entry):
                        raise NamedModelNotFound from exc
                    raise
        except BaseException as exc:
            self.may_be_billed |= _may_be_billed(exc)
            raise
        # If a content filter refuses a rescue before its first token, viewers keep what they have.
        is_filtered = finish.reason == "content_filter" and not self._got_token
        for event in catch_up.finish() if catch_up and not is_filtered else ():
            self._emit(event)
        for call in finish.tool_calls:
            self._emit(call)
        is_refused = finish.is_refused and not self._has_begun
        return msgspec.structs.replace(finish, is_refused=is_refused)

    def _new_report(self, entry: ProviderEntry) -> CallReport:
        self._earlier_pieces = self.pieces
        report = CallReport(
            self._hooks,
            self._id,
            self._request,
            entry,
            model=self.model,
            number=self.calls,
            has_begun=self._has_begun,
        )
        self._pace = report.pace
        return report

    # ---- The input of a call

    def _switch_to(self, entry: ProviderEntry) -> None:
        """Move the slot to an entry; viewers get a `status` event unless it is the one to call first."""
        self._slot.move_to(entry)
        if entry is not self.entry:
            self._use(entry)
        if entry is self._first:
            return
        if self._failures:
            reason = self._failures[-1][1].code
        else:
            reason = "busy" if self._first.circuit.admits else "circuit_open"
        self._emit(
            Progress(
                state="switching",
                provider=entry.name,
                reason=reason,
                dropped_parameters=self.fit.dropped,
                adjusted_parameters={**self.fit.adjusted},
            )
        )

    def _use(self, entry: ProviderEntry) -> None:
        """Make an entry the one that answers."""
        self.entry = entry
        self.model = self._named_model(entry) or entry.section.model
        self.fit: Fit = fit_of(entry, self._request.prompt, requested=self._route[0])

    def _prompt_for(self, entry: ProviderEntry, trace: str) -> Prompt:
        prompt = self.fit.prompt
        call = self._earlier_calls + self.calls
        return msgspec.structs.replace(
            prompt, call=call, model=self._named_model(entry), trace=trace
        )

    def _named_model(self, entry: ProviderEntry) -> str:
        """Return the model that the client named, or "": it only applies to the requested entry."""
        return self._model if entry is self._route[0] else ""

    async def _catch_up(self, entry: ProviderEntry) -> CatchUp:
        restart = Restart(reason=self._broken_by, provider=entry.name, model=self.model)
        standing = await self._read_answer()
        return CatchUp(str(standing.text), restart, is_text=standing.is_text)

    def _on_first_token(self, tell_circuit: Callable[[], None]) -> None:
        self._has_begun = self._got_token = self.may_be_billed = True
        tell_circuit()
        if self.first_token_seconds is None:
            seconds = self.first_token_seconds = self._now() - self.began
            self._hooks.notify(
                FirstToken(
                    generation=self._id,
                    provider=self.entry.name,
                    model=self.model,
                    seconds=seconds,
                    trace=(self._request.trace or UNTRACED).own,
                )
            )

    def _emit_new(self, catch_up: CatchUp, delta: Delta) -> None:
        for event in catch_up.take(delta):
            self._emit(event)

    # ---- Whether there is another call, and when

    @property
    def _may_call(self) -> bool:
        """Whether there may be another call, to any entry."""
        may_be_saved = self._settings.rescue or not self._has_begun
        is_in_time = self._now() < self._end
        return may_be_saved and is_in_time and self.calls < self._settings.max_calls

    def _is_usable(self, entry: ProviderEntry) -> bool:
        return entry.circuit.admits and (entry is self._slot.entry or entry.has_free_slot)

    def _has_usable_after(self, entry: ProviderEntry) -> bool:
        return any(map(self._is_usable, self._route[self._route.index(entry) + 1 :]))

    def _seconds_to_retry(
        self, entry: ProviderEntry, error: ProviderError, tries: int, first_token_at: float
    ) -> float | None:
        """Return how long to wait before the same entry is called again; None: do not call it again."""
        section = entry.section
        is_final = not error.retry_same_provider or tries >= section.attempts or not self._may_call
        has_other = self._has_usable_after(entry)
        if is_final or (has_other and not entry.circuit.admits):
            return None
        backoff = min(section.backoff_seconds * 2 ** (tries - 1), section.max_backoff_seconds)
        wait = backoff * random.uniform(_LEAST_BACKOFF, 1)  # noqa: S311  # a jitter
        if error.retry_after_seconds is not None:
            wait = max(wait, error.retry_after_seconds)
        bound = min(first_token_at, self._end) - self._now()
        if has_other:
            bound = min(bound, section.max_backoff_seconds)
        return wait if wait <= bound else None


def _may_be_billed(exc: BaseException) -> bool:
    """Return whether a call that ended like this may be billed: it was closed at work, or its answer was empty."""
    if isinstance(exc, EmptyAnswer):
        return True
    if isinstance(exc, ProviderTimedOut):
        return exc.deadline != "connect"
    return not isinstance(exc, ProviderError)
