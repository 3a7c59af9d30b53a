"""One generation: a provider's deltas become a log that begins with `Start` and ends with `Done`.

It does not belong to a connection. It runs in a task of the supervisor, inside one cancel scope; cancelling
that scope is the only way to stop it from outside, and closes the upstream call at any stage. It does not belong to a
process either: another one may go on with it, and this one then writes nothing more.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal

import anyio
import msgspec

from streamsvc.config.settings import GenerationSettings
from streamsvc.engine.audience import Audience, State
from streamsvc.engine.ending import Ending
from streamsvc.engine.entries import ProviderSlot
from streamsvc.engine.failover import Failover
from streamsvc.engine.remains import Remains
from streamsvc.engine.stopping import StopScope
from streamsvc.engine.usage import estimate, total_tokens
from streamsvc.eventlog.base import EventLog, LogFull, LogTakenOver, stored_batches
from streamsvc.eventloop import clock, shielded
from streamsvc.events import Done, Outcome, Start
from streamsvc.hooks import GenerationEnded, GenerationStarted, Hooks
from streamsvc.log_line import log
from streamsvc.messages import GenerationRequest, data_bytes
from streamsvc.provider_errors import ProviderError
from streamsvc.snapshot import Standing
from streamsvc.tracecontext import UNTRACED, GenerationTrace
from streamsvc.traces import drop_frames, fields_of

logger = logging.getLogger(__name__)

APPEND_SECONDS = 5.0
"""Maximum time for writing the end of a log, which continues even if the task is cancelled."""

HAND_OVER_SECONDS = 3.0
"""Maximum time of these for handing it over to another process."""

ESTIMATE_SECONDS = 1.0
"""Maximum time for reading the answer back for an estimate, before that."""

End = Literal["finished", "handed_over", "taken_over"]
"""How a generation ends in this process: with a `Done`, or by going on in another one."""


class Generation:
    """One answer while it is being generated: `open_log` or `take_over`, then `run`.

    Args:
        generation_id: unguessable, new for every generation.
        request: what to generate.
        slot: its provider slot, held until `run` has returned; the slot's route lists the entries that may answer.
        log: stores its events.
        settings: how long it may continue without viewers, and how it is rescued.
        hooks: get a report when it starts and ends.
        hand_over: lets another process go on with it, and returns whether one may.

    Attributes:
        audience: its viewers; without them it stops.
        data_bytes: the size of the images and files in its request.
        end: how it has ended in this process; None while it runs.
        used_tokens: what it has used when it has ended, input and output together; None: unknown.
    """

    def __init__(  # noqa: PLR0913  # what it needs, passed by name
        self,
        generation_id: str,
        request: GenerationRequest,
        *,
        slot: ProviderSlot,
        log: EventLog,
        settings: GenerationSettings,
        hooks: Hooks,
        hand_over: Callable[["Generation"], Awaitable[bool]] | None = None,
    ) -> None:
        grace_seconds = request.grace_seconds
        self._id = generation_id
        self._request = request
        self._log = log
        self._failover = failover = Failover(
            generation_id,
            request,
            slot,
            emit=partial(log.append, generation_id),
            read_answer=self._read_answer,
            settings=settings,
            hooks=hooks,
        )
        self._hooks = hooks
        self._takes_over = 0
        self._stop_scope = StopScope()
        self.audience = Audience(
            self._stop_scope,
            attach_seconds=settings.attach_seconds,
            grace_seconds=settings.grace_seconds if grace_seconds is None else grace_seconds,
            pieces=lambda: failover.pieces,
        )
        self.data_bytes = data_bytes(request.prompt)
        self.end: End | None = None
        self.used_tokens: int | None = None
        self._hand_over = hand_over if settings.rescue else None
        self._waiting: anyio.Event | None = None  # of those that wait for its end, which is rare

    @property
    def id(self) -> str:
        """Its id."""
        return self._id

    @property
    def request(self) -> GenerationRequest:
        """What is generated."""
        return self._request

    def stop(self, outcome: Outcome) -> None:
        """End it at once; the first reason given is kept. After `upstream_lost`, nothing more is written."""
        self._stop_scope.stop(outcome)

    @property
    def goes_on_elsewhere(self) -> bool:
        """Whether another process runs it now, or will."""
        return self.end in ("handed_over", "taken_over")

    async def wait_ended(self) -> None:
        """Wait until the `Done` is in the log, or another process goes on with it."""
        if self._waiting is None:
            self._waiting = anyio.Event()
            if self.end is not None:
                self._waiting.set()
        await self._waiting.wait()

    def open_log(self) -> Awaitable[None]:
        """Write the `Start`; the result waits until it is stored.

        Raises:
            Overloaded: the log has no room for another generation, or cannot store it.
            LogTakenOver: it was so slow that another process may have taken it over.
        """
        fit = self._failover.fit
        self._log.append(
            self._id,
            Start(
                generation=self._id,
                provider=self._failover.entry.name,
                model=self._failover.model,
                created=int(time.time()),
                metadata=self._request.metadata,
                dropped_parameters=fit.dropped,
                adjusted_parameters={**fit.adjusted},
            ),
        )
        return self._log.flush(self._id)

    def take_over(self, remains: Remains, *, times: int) -> None:
        """Go on with what another process has begun.

        Args:
            remains: what its log has.
            times: how often its process has died.
        """
        self._takes_over = max(times, 1)
        self._failover.take_over(remains.standing, calls=self._takes_over)

    async def run(self) -> None:
        """Run to the end, and write exactly one `Done`, whatever happens, unless another process goes on."""
        began_at = time.time()
        max_tokens = self._request.prompt.max_tokens
        trace = self._request.trace or UNTRACED
        self._hooks.notify(
            GenerationStarted(
                generation=self._id,
                principal=self._request.principal,
                provider=self._failover.entry.name,
                model=self._failover.model,
                trace=trace.own,
                parent=trace.parent,
                takes_over=self._takes_over,
            )
        )
        done: Done | None = None
        try:
            with self._stop_scope:
                done = await self._answer()
        finally:
            if done is None:
                done = self._ending.stopped(self._stop_scope.outcome)
            self.end, done = await self._close_log(done)
            principal = self._request.principal
            self._forget()
            if self._waiting is not None:
                self._waiting.set()
            self._report(done, principal, began_at, max_tokens, trace)

    def _report(
        self,
        done: Done,
        principal: str,
        began_at: float,
        max_tokens: int | None,
        trace: GenerationTrace,
    ) -> None:
        """Report its end to the hooks."""
        failover, audience = self._failover, self.audience
        is_watched = audience.state is State.WATCHING
        self._hooks.notify(
            GenerationEnded(
                generation=self._id,
                principal=principal,
                end=self.end or "finished",
                model=failover.model,
                done=done,
                began_at=began_at,
                seconds=clock()() - failover.began,
                first_token_seconds=failover.first_token_seconds,
                calls=failover.calls,
                pieces=failover.pieces,
                unwatched_pieces=0 if is_watched else failover.pieces - audience.left_at,
                max_tokens=max_tokens,
                viewers=audience.joined,
                created_at=trace.began_at or began_at,
                trace=trace.own,
                parent=trace.parent,
                takes_over=self._takes_over,
            )
        )

    def _forget(self) -> None:
        """Drop the request, whose images may be megabytes, and the cycle that would keep this object for the collector."""
        del self._request
        self._failover.forget()

    async def _answer(self) -> Done:
        """Return how the answer ended; a failure is also an end."""
        try:
            finish = await self._failover.run()
        except ProviderError as exc:
            return self._ending.provider_failed(exc)
        except LogFull:
            return self._ending.log_full()
        except LogTakenOver:
            self._stop_scope.stop(Outcome.UPSTREAM_LOST)
            return self._ending.lost()
        except Exception as exc:  # noqa: BLE001  # a bug of ours must still end the log
            if self._is_elsewhere:
                return self._ending.lost()
            log(logger, logging.ERROR, "generation.crashed", id=self._id, **fields_of(exc))
            drop_frames(exc)
            return self._ending.crashed()
        return self._ending.finished(finish)

    @property
    def _is_elsewhere(self) -> bool:
        """Whether another process runs it now, or may: its log here may be gone at any moment."""
        return self._stop_scope.outcome is Outcome.UPSTREAM_LOST

    @property
    def _ending(self) -> Ending:
        return Ending(self._failover.entry.name, self._failover.model)

    async def _close_log(self, done: Done) -> tuple[End, Done]:
        """Write the `Done`, with its usage, unless another process goes on; return both.

        A log that fails must not end other generations.
        """
        if self._is_elsewhere:
            return "taken_over", done
        try:
            if done.outcome is Outcome.DRAINED or self._lacks_usage(done):
                return await self._close_log_slowly(done)
            await shielded(self._write_end(done), APPEND_SECONDS)
        except LogTakenOver:
            return "taken_over", done
        except Exception as exc:  # noqa: BLE001  # any error of the log's library
            log(logger, logging.ERROR, "log.failed", id=self._id, **fields_of(exc))
        return "finished", done

    async def _close_log_slowly(self, done: Done) -> tuple[End, Done]:
        """Do the same for one that may be handed over, or whose usage must be estimated."""
        with anyio.move_on_after(APPEND_SECONDS, shield=True):
            if done.outcome is Outcome.DRAINED and await self._is_handed_over():
                return "handed_over", done
            if self._lacks_usage(done):
                done = await self._with_estimate(done)
            await self._write_end(done)
        return "finished", done

    def _write_end(self, done: Done) -> Awaitable[None]:
        """Write the `Done`, and note the tokens; the result waits until it is stored."""
        if done.usage is not None:
            self.used_tokens = total_tokens(done.usage)
        elif not self._failover.may_be_billed:
            self.used_tokens = 0
        self._log.append(self._id, done)
        return self._log.flush(self._id)

    def _lacks_usage(self, done: Done) -> bool:
        """Whether the provider may bill, but has not reported the usage."""
        return done.usage is None and self._failover.may_be_billed

    async def _is_handed_over(self) -> bool:
        if self._hand_over is None:
            return False
        with anyio.move_on_after(HAND_OVER_SECONDS):
            return await self._hand_over(self)
        return False

    async def _with_estimate(self, done: Done) -> Done:
        """Estimate the usage, within a time limit."""
        with anyio.move_on_after(ESTIMATE_SECONDS):
            section = self._failover.entry.section
            answer = await self._read_answer()
            usage = estimate(self._request.prompt, answer, counts_words=section.counts_words)
            return msgspec.structs.replace(done, usage=usage)
        return done

    async def _read_answer(self) -> Standing:
        """Read back the part of the answer that viewers have."""
        standing = Standing()
        async for records in stored_batches(self._log, self._id):
            standing.extend(records)
        return standing
