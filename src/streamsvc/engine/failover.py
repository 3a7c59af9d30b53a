"""One answer, from as many calls to providers as it takes.

A provider that fails is asked again where that may help, and then the next in line is asked, within
the deadlines and a bounded number of calls. Before the first token viewers see none of it but a
`status`; after it, what they have is either continued exactly or begun anew with a `restart`.
"""

import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import msgspec

from streamsvc.config.settings import GenerationSettings
from streamsvc.engine.attempt import attempt
from streamsvc.engine.entries import ProviderEntry, entry_with_free_slot
from streamsvc.engine.rescue import CatchUp
from streamsvc.errors import (
    EmptyAnswer,
    NamedModelNotFound,
    ProviderError,
    ProviderModelNotFound,
    ProviderTimedOut,
    causes,
)
from streamsvc.eventloop import clock
from streamsvc.events import Event, Progress, Reasoning, Restart, Text
from streamsvc.messages import Prompt
from streamsvc.providers.base import Finish
from streamsvc.snapshot import Standing

logger = logging.getLogger(__name__)

_LEAST_BACKOFF = 0.5
"""The part of a backoff that is always waited; the rest is jitter, so that many do not come at once."""


class Failover:
    """The way to one answer.

    Args:
        generation_id: for the log lines.
        prompt: what is asked.
        route: whom to ask, in this order. A place is taken on the first that has room.
        emit: writes an event for the viewers.
        said: reads back what viewers have of the answer.
        settings: whether to rescue, and how many calls there may be.

    Raises:
        Overloaded: no lane of the route has room.

    Attributes:
        entry: who answers; of an answer that failed, whose failure is told.
        calls: how many calls there have been.
        may_have_cost: whether a provider has begun to answer, or was left while it might have.
    """

    def __init__(
        self,
        generation_id: str,
        prompt: Prompt,
        route: tuple[ProviderEntry, ...],
        *,
        emit: Callable[[Event], None],
        said: Callable[[], Awaitable[Standing]],
        settings: GenerationSettings,
    ) -> None:
        self.entry = route[0]
        self.calls = 0
        self.may_be_billed = False
        self._id = generation_id
        self._prompt = prompt
        self._route = route
        self._emit = emit
        self._said = said
        self._settings = settings
        self._has_begun = False
        self._got_token = False
        self._broken_by = ""
        self._failures: list[tuple[ProviderEntry, ProviderError]] = []
        self._end = 0.0
        self._now = clock()
        self._place = entry_with_free_slot(route)
        self._place.running += 1

    @property
    def model(self) -> str:
        """The model that `entry` is asked for."""
        return self._other_model(self.entry) or self.entry.section.model

    def _other_model(self, entry: ProviderEntry) -> str:
        """Return the model that the client named: it is one of the entry that it named, and no other."""
        return self._prompt.model if entry is self._route[0] else ""

    def leave(self) -> None:
        """Give the place back, once."""
        self._place.running -= 1

    async def run(self) -> Finish:
        """Return how the answer ended; all that goes before has been said.

        Raises:
            ProviderError: there is none. Of several failures, the first that may be over when the
                request is made again later, else the first.
        """
        self._end = self._now() + self._route[0].section.total_seconds
        for entry in self._route:
            if self._may_go_on and self._is_open(entry) and (finish := await self._ask(entry)):
                return finish
        # Where all are to be left in peace, somebody has to be asked all the same.
        if not self.calls and (finish := await self._ask(self._place)):
            return finish
        failures = (failure for failure in self._failures if failure[1].retryable)
        self.entry, error = next(failures, self._failures[0])
        raise error

    @property
    def _may_go_on(self) -> bool:
        """Whether what has happened so far allows another call."""
        may_be_saved = self._settings.rescue or not self._has_begun
        is_in_time = self._now() < self._end
        return may_be_saved and is_in_time and self.calls < self._settings.max_calls

    def _is_open(self, entry: ProviderEntry) -> bool:
        return entry.circuit.admits and (entry is self._place or entry.has_free_slot)

    def _has_open_behind(self, entry: ProviderEntry) -> bool:
        return any(map(self._is_open, self._route[self._route.index(entry) + 1 :]))

    async def _ask(self, entry: ProviderEntry) -> Finish | None:
        """Ask one provider, and again where that may help; None where it has failed."""
        tries = 0
        first_token_at = self._now() + entry.section.first_token_bound
        while True:
            tries += 1
            try:
                with entry.circuit.call() as on_first_token:
                    if tries == 1:
                        self._move_to(entry)
                    return await self._call(entry, first_token_at, on_first_token)
            except ProviderError as exc:
                self._note(entry, exc)
                error = exc
            if self._got_token:
                self._broken_by = error.code
                first_token_at = self._now() + entry.section.first_token_bound
            wait = self._wait_seconds(entry, error, tries, first_token_at)
            if wait is None:
                return None
            self._emit(Progress(state="retrying", provider=entry.name, reason=error.code))
            await anyio.sleep(wait)
            if not entry.circuit.admits and self._has_open_behind(entry):
                return None

    def _move_to(self, entry: ProviderEntry) -> None:
        """Take the place along to another provider, and say so."""
        self.entry = entry
        if entry is not self._place:
            self._place.running -= 1
            entry.running += 1
            self._place = entry
        if entry is not self._route[0]:
            reason = "busy" if self._route[0].circuit.admits else "circuit_open"
            if self._failures:
                reason = self._failures[-1][1].code
            self._emit(Progress(state="switching", provider=entry.name, reason=reason))

    async def _call(
        self, entry: ProviderEntry, first_token_at: float, on_first_token: Callable[[], None]
    ) -> Finish:
        self.calls += 1
        self._got_token = False
        catch_up = await self._catch_up(entry) if self._has_begun else None
        now = self._now()
        try:
            finish = await attempt(
                entry,
                msgspec.structs.replace(
                    self._prompt, call=self.calls, model=self._other_model(entry)
                ),
                first_token_at=first_token_at,
                end=min(self._end, now + entry.section.total_seconds),
                on_first_token=partial(self._begin, on_first_token),
                emit=self._emit if catch_up is None else partial(self._say_new, catch_up),
            )
        except ProviderModelNotFound as exc:
            if self._other_model(entry):
                raise NamedModelNotFound from exc
            raise
        except BaseException as exc:
            self.may_be_billed |= _may_have_cost(exc)
            raise
        # A rescue that a filter refuses before a word leaves viewers what they have, and says how it ended.
        is_filtered = finish.reason == "content_filter" and not self._got_token
        for event in catch_up.finish() if catch_up and not is_filtered else ():
            self._emit(event)
        is_refused = finish.is_refused and not self._has_begun
        return msgspec.structs.replace(finish, is_refused=is_refused)

    def _begin(self, on_first_token: Callable[[], None]) -> None:
        self._has_begun = self._got_token = self.may_be_billed = True
        on_first_token()

    async def _catch_up(self, entry: ProviderEntry) -> CatchUp:
        restart = Restart(reason=self._broken_by, provider=entry.name, model=self.model)
        return CatchUp(str((await self._said()).text), restart)

    def _say_new(self, catch_up: CatchUp, delta: Text | Reasoning) -> None:
        for event in catch_up.take(delta):
            self._emit(event)

    def _wait_seconds(
        self, entry: ProviderEntry, error: ProviderError, tries: int, first_token_at: float
    ) -> float | None:
        """Return how long to wait before the same provider is asked again; None: not again."""
        section = entry.section
        has_other = self._has_open_behind(entry)
        is_done = not error.retry_same_provider or tries >= section.attempts or not self._may_go_on
        if is_done or (has_other and not entry.circuit.admits):
            return None
        backoff = min(section.backoff_seconds * 2 ** (tries - 1), section.max_backoff_seconds)
        wait = backoff * random.uniform(_LEAST_BACKOFF, 1)  # noqa: S311  # a jitter
        if error.retry_after_seconds is not None:
            wait = max(wait, error.retry_after_seconds)
        bound = min(first_token_at, self._end) - self._now()
        if has_other:
            bound = min(bound, section.max_backoff_seconds)
        return wait if wait <= bound else None

    def _note(self, entry: ProviderEntry, error: ProviderError) -> None:
        self._failures.append((entry, error))
        setting = f" setting=providers.{entry.name}.{error.setting}" if error.setting else ""
        logger.warning(
            "call.failed id=%s provider=%s model=%s code=%s call=%d begun=%s cause=%s%s",
            self._id, entry.name, self.model, error.code, self.calls,
            str(self._has_begun).lower(), causes(error), setting,
        )  # fmt: skip


def _may_have_cost(exc: BaseException) -> bool:
    """Tell whether a call that ended so may be billed: we left a provider at work, or it said nothing."""
    if isinstance(exc, EmptyAnswer):
        return True
    if isinstance(exc, ProviderTimedOut):
        return exc.deadline != "connect"
    return not isinstance(exc, ProviderError)
