"""One generation: a provider's deltas become a log that begins with `Start` and ends with `Done`.

It belongs to no connection. It runs in a task of the supervisor, inside one cancel scope; cancelling
the scope is the only way to stop it, and closes the upstream call wherever that stands.
"""

import logging
import time
from collections.abc import Mapping
from functools import partial

import anyio
import msgspec

from streamsvc.config.settings import GenerationSettings
from streamsvc.engine.audience import Audience
from streamsvc.engine.entries import ProviderEntry
from streamsvc.engine.failover import Failover
from streamsvc.engine.usage import estimate
from streamsvc.errors import ProviderContentFiltered, ProviderError, StreamsvcError, describe
from streamsvc.eventlog.base import EventLog, LogFull, stored_batches
from streamsvc.eventloop import clock
from streamsvc.events import (
    AnswerEnd,
    Done,
    FinishReason,
    Outcome,
    PublicError,
    Start,
    Status,
)
from streamsvc.messages import GenerationRequest
from streamsvc.snapshot import Standing

logger = logging.getLogger(__name__)

APPEND_SECONDS = 5.0
"""Bound of writing the end of a log, which has to go on although the task is cancelled."""

ESTIMATE_SECONDS = 1.0
"""Bound of reading back what was said, before that."""

_STATUS: Mapping[AnswerEnd, Status] = {
    "stop": Status.COMPLETED,
    "tool_calls": Status.COMPLETED,
    "length": Status.INCOMPLETE,
    "content_filter": Status.INCOMPLETE,
    "other": Status.INCOMPLETE,
}

_DRAINED = PublicError(
    "drained", "The service shut down before the answer was complete; ask again.", retryable=True
)


_REFUSED = PublicError(
    ProviderContentFiltered.code, ProviderContentFiltered.message, retryable=False
)


class Generation:
    """One answer in the making.

    Args:
        generation_id: unguessable, new for every generation.
        order: what is wanted.
        route: the provider entries that may answer, the one that was asked for first.
        log: where the events go.
        settings: how long it may go on without viewers, and how it is rescued.

    Attributes:
        audience: the viewers, whose leaving stops it.
        place: the lane of the route on which it has its place until it has ended.
    """

    def __init__(
        self,
        generation_id: str,
        order: GenerationRequest,
        *,
        route: tuple[ProviderEntry, ...],
        log: EventLog,
        settings: GenerationSettings,
    ) -> None:
        grace_seconds = order.grace_seconds
        self.id = generation_id
        self._has_ended: anyio.Event | None = None
        self._order = order
        self._log = log
        self._failover = Failover(
            generation_id,
            order.prompt,
            route,
            emit=partial(log.append, generation_id),
            said=self._said,
            settings=settings,
        )
        self._scope = anyio.CancelScope()
        self._stop_outcome = Outcome.NO_VIEWERS
        self.audience = Audience(
            self._scope,
            attach_seconds=settings.attach_seconds,
            grace_seconds=settings.grace_seconds if grace_seconds is None else grace_seconds,
        )

    def stop(self, outcome: Outcome) -> None:
        """End at once; the first reason that is given stands."""
        if not self._scope.cancel_called:
            self._stop_outcome = outcome
            self._scope.cancel()

    @property
    def ended(self) -> anyio.Event:
        """Set when the `Done` is in the log; few ask."""
        if self._has_ended is None:
            self._has_ended = anyio.Event()
        return self._has_ended

    def leave(self) -> None:
        """Give the place with the provider back."""
        self._failover.leave()

    async def open_log(self) -> None:
        """Write the `Start`."""
        self._log.append(
            self.id,
            Start(
                generation=self.id,
                provider=self._failover.entry.name,
                model=self._failover.model,
                created=int(time.time()),
                metadata=self._order.metadata,
            ),
        )
        await self._log.flush(self.id)

    async def run(self) -> None:
        """Run to the end, and write it: exactly one `Done`, whatever happens."""
        now = clock()
        began = now()
        done: Done | None = None
        try:
            with self._scope:
                done = await self._run()
        finally:
            if done is None:
                was_stopped = self._scope.cancel_called
                done = self._stopped(self._stop_outcome if was_stopped else Outcome.DRAINED)
            await self._close_log(done)
            self.ended.set()
            seconds = now() - began
            logger.info(
                "generation.finished id=%s provider=%s model=%s outcome=%s calls=%d seconds=%.3f",
                self.id, done.provider, done.model, done.outcome, self._failover.calls, seconds,
            )  # fmt: skip

    async def _close_log(self, done: Done) -> None:
        """Write the end. A log that fails must not take other generations with it."""
        try:
            with anyio.move_on_after(APPEND_SECONDS, shield=True):
                self._log.append(self.id, await self._with_usage(done))
                await self._log.flush(self.id)
        except Exception as exc:  # noqa: BLE001  # whatever the log's library raises
            logger.error("log.failed id=%s %s", self.id, describe(exc))  # noqa: TRY400

    async def _with_usage(self, done: Done) -> Done:
        """Estimate what the provider did not come to tell; the end does not wait for it long."""
        if done.usage is None and self._failover.may_be_billed:
            with anyio.move_on_after(ESTIMATE_SECONDS):
                usage = estimate(self._order.prompt, await self._said())
                return msgspec.structs.replace(done, usage=usage)
        return done

    async def _said(self) -> Standing:
        """Read back what viewers have of the answer."""
        said = Standing()
        async for records in stored_batches(self._log, self.id):
            said.extend(records)
        return said

    async def _run(self) -> Done:
        """Return how the answer ended; its failures are answers too."""
        try:
            finish = await self._failover.run()
        except ProviderError as exc:
            error = PublicError(exc.code, exc.message, exc.retryable)
            return self._failed(Outcome(exc.outcome), error)
        except LogFull:
            return self._cut_off()
        except Exception as exc:  # noqa: BLE001  # a mistake of ours must still end the log
            logger.error("generation.crashed id=%s %s", self.id, describe(exc))  # noqa: TRY400
            error = PublicError(StreamsvcError.code, StreamsvcError.message, retryable=True)
            return self._failed(Outcome.INTERNAL_ERROR, error)
        return Done(
            status=_STATUS[finish.reason],
            finish_reason=finish.reason,
            provider_finish_reason=finish.provider_reason,
            outcome=Outcome.COMPLETED,
            provider=self._failover.entry.name,
            model=finish.model or self._failover.model,
            usage=finish.usage,
            error=_REFUSED if finish.is_refused else None,
        )

    def _failed(self, outcome: Outcome, error: PublicError) -> Done:
        return self._ended(Status.FAILED, "error", outcome, error)

    def _cut_off(self) -> Done:
        """The answer is longer than may be kept: what there is of it stands."""
        return self._ended(Status.INCOMPLETE, "length", Outcome.LOG_FULL)

    def _stopped(self, outcome: Outcome) -> Done:
        if outcome is Outcome.DRAINED:
            return self._failed(outcome, _DRAINED)
        return self._ended(Status.STOPPED, "stopped", outcome)

    def _ended(
        self,
        status: Status,
        reason: FinishReason,
        outcome: Outcome,
        error: PublicError | None = None,
    ) -> Done:
        """Say how it ended when the provider did not."""
        return Done(
            status=status,
            finish_reason=reason,
            outcome=outcome,
            provider=self._failover.entry.name,
            model=self._failover.model,
            error=error,
        )
