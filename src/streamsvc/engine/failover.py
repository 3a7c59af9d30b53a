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
from streamsvc.engine.entries import Lane, lane_with_room
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


class Answer:
    """The way to one answer.

    Args:
        generation_id: for the log lines.
        prompt: what is asked.
        route: whom to ask, in this order. A place is taken on the first that has room.
        say: writes an event for the viewers.
        said: reads back what viewers have of the answer.
        settings: whether to rescue, and how many calls there may be.

    Raises:
        Overloaded: no lane of the route has room.

    Attributes:
        lane: who answers; of an answer that failed, whose failure is told.
        calls: how many calls there have been.
        may_have_cost: whether a provider has begun to answer, or was left while it might have.
    """

    def __init__(
        self,
        generation_id: str,
        prompt: Prompt,
        route: tuple[Lane, ...],
        *,
        say: Callable[[Event], None],
        said: Callable[[], Awaitable[Standing]],
        settings: GenerationSettings,
    ) -> None:
        self.lane = route[0]
        self.calls = 0
        self.may_have_cost = False
        self._id = generation_id
        self._prompt = prompt
        self._route = route
        self._say = say
        self._said = said
        self._settings = settings
        self._has_begun = False
        self._has_spoken = False
        self._broken_by = ""
        self._failures: list[tuple[Lane, ProviderError]] = []
        self._end = 0.0
        self._now = clock()
        self._place = lane_with_room(route)
        self._place.running += 1

    @property
    def model(self) -> str:
        """The model that `lane` is asked for."""
        return self._other_model(self.lane) or self.lane.section.model

    def _other_model(self, lane: Lane) -> str:
        """Return the model that the client named: it is one of the entry that it named, and no other."""
        return self._prompt.model if lane is self._route[0] else ""

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
        for lane in self._route:
            if self._may_go_on and self._is_open(lane) and (finish := await self._ask(lane)):
                return finish
        # Where all are to be left in peace, somebody has to be asked all the same.
        if not self.calls and (finish := await self._ask(self._place)):
            return finish
        failures = (failure for failure in self._failures if failure[1].retryable)
        self.lane, error = next(failures, self._failures[0])
        raise error

    @property
    def _may_go_on(self) -> bool:
        """Whether what has happened so far allows another call."""
        may_be_saved = self._settings.rescue or not self._has_begun
        is_in_time = self._now() < self._end
        return may_be_saved and is_in_time and self.calls < self._settings.max_calls

    def _is_open(self, lane: Lane) -> bool:
        return lane.circuit.admits and (lane is self._place or lane.has_room)

    def _has_open_behind(self, lane: Lane) -> bool:
        return any(map(self._is_open, self._route[self._route.index(lane) + 1 :]))

    async def _ask(self, lane: Lane) -> Finish | None:
        """Ask one provider, and again where that may help; None where it has failed."""
        tries = 0
        first_token_at = self._now() + lane.section.first_token_bound
        while True:
            tries += 1
            try:
                with lane.circuit.call() as speaks:
                    if tries == 1:
                        self._move_to(lane)
                    return await self._call(lane, first_token_at, speaks)
            except ProviderError as exc:
                self._note(lane, exc)
                error = exc
            if self._has_spoken:
                self._broken_by = error.code
                first_token_at = self._now() + lane.section.first_token_bound
            wait = self._wait_seconds(lane, error, tries, first_token_at)
            if wait is None:
                return None
            self._say(Progress(state="retrying", provider=lane.name, reason=error.code))
            await anyio.sleep(wait)
            if not lane.circuit.admits and self._has_open_behind(lane):
                return None

    def _move_to(self, lane: Lane) -> None:
        """Take the place along to another provider, and say so."""
        self.lane = lane
        if lane is not self._place:
            self._place.running -= 1
            lane.running += 1
            self._place = lane
        if lane is not self._route[0]:
            reason = "busy" if self._route[0].circuit.admits else "circuit_open"
            if self._failures:
                reason = self._failures[-1][1].code
            self._say(Progress(state="switching", provider=lane.name, reason=reason))

    async def _call(self, lane: Lane, first_token_at: float, speaks: Callable[[], None]) -> Finish:
        self.calls += 1
        self._has_spoken = False
        catch_up = await self._catch_up(lane) if self._has_begun else None
        now = self._now()
        try:
            finish = await attempt(
                lane,
                msgspec.structs.replace(
                    self._prompt, call=self.calls, model=self._other_model(lane)
                ),
                first_token_at=first_token_at,
                end=min(self._end, now + lane.section.total_seconds),
                on_first_token=partial(self._begin, speaks),
                say=self._say if catch_up is None else partial(self._say_new, catch_up),
            )
        except ProviderModelNotFound as exc:
            if self._other_model(lane):
                raise NamedModelNotFound from exc
            raise
        except BaseException as exc:
            self.may_have_cost |= _may_have_cost(exc)
            raise
        # A rescue that a filter refuses before a word leaves viewers what they have, and says how it ended.
        is_filtered = finish.reason == "content_filter" and not self._has_spoken
        for event in catch_up.finish() if catch_up and not is_filtered else ():
            self._say(event)
        is_refused = finish.is_refused and not self._has_begun
        return msgspec.structs.replace(finish, is_refused=is_refused)

    def _begin(self, speaks: Callable[[], None]) -> None:
        self._has_begun = self._has_spoken = self.may_have_cost = True
        speaks()

    async def _catch_up(self, lane: Lane) -> CatchUp:
        restart = Restart(reason=self._broken_by, provider=lane.name, model=self.model)
        return CatchUp(str((await self._said()).text), restart)

    def _say_new(self, catch_up: CatchUp, delta: Text | Reasoning) -> None:
        for event in catch_up.take(delta):
            self._say(event)

    def _wait_seconds(
        self, lane: Lane, error: ProviderError, tries: int, first_token_at: float
    ) -> float | None:
        """Return how long to wait before the same provider is asked again; None: not again."""
        section = lane.section
        has_other = self._has_open_behind(lane)
        is_done = not error.is_worth_repeating or tries >= section.attempts or not self._may_go_on
        if is_done or (has_other and not lane.circuit.admits):
            return None
        backoff = min(section.backoff_seconds * 2 ** (tries - 1), section.max_backoff_seconds)
        wait = backoff * random.uniform(_LEAST_BACKOFF, 1)  # noqa: S311  # a jitter
        if error.retry_after_seconds is not None:
            wait = max(wait, error.retry_after_seconds)
        bound = min(first_token_at, self._end) - self._now()
        if has_other:
            bound = min(bound, section.max_backoff_seconds)
        return wait if wait <= bound else None

    def _note(self, lane: Lane, error: ProviderError) -> None:
        self._failures.append((lane, error))
        setting = f" setting=providers.{lane.name}.{error.setting}" if error.setting else ""
        logger.warning(
            "call.failed id=%s provider=%s model=%s code=%s call=%d begun=%s cause=%s%s",
            self._id, lane.name, self.model, error.code, self.calls,
            str(self._has_begun).lower(), causes(error), setting,
        )  # fmt: skip


def _may_have_cost(exc: BaseException) -> bool:
    """Tell whether a call that ended so may be billed: we left a provider at work, or it said nothing."""
    if isinstance(exc, EmptyAnswer):
        return True
    if isinstance(exc, ProviderTimedOut):
        return exc.deadline != "connect"
    return not isinstance(exc, ProviderError)
