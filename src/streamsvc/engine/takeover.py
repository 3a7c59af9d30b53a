"""Takes over generations whose process has died or left, and goes on with them.

The provider is asked again, and the rescue fits its answer to what viewers have: they see a pause. What cannot go on
gets its `Done`.
"""

import logging
import time
from collections.abc import Awaitable, Callable

import anyio
import msgspec

from streamsvc.engine.admission import Limiter
from streamsvc.engine.directory.base import Directory, TakenOver
from streamsvc.engine.ending import Ending
from streamsvc.engine.entries import ProviderEntry, ProviderSlot, Terms
from streamsvc.engine.generation import APPEND_SECONDS, Generation
from streamsvc.engine.remains import Remains, remains_of
from streamsvc.engine.usage import estimate, total_tokens
from streamsvc.errors import GenerationNotFound, RequestError, StoreUnavailable, StreamsvcError
from streamsvc.eventlog.base import EventLog, LogTakenOver
from streamsvc.eventloop import shielded
from streamsvc.events import Done
from streamsvc.hooks import GenerationEnded, Hooks
from streamsvc.log_line import log
from streamsvc.providers.base import Finish
from streamsvc.tracecontext import UNTRACED
from streamsvc.traces import fields_of

logger = logging.getLogger(__name__)

MAX_DEATHS = 3
"""How many processes a generation may outlive: a request that kills processes must not kill all of them."""

TAKES_AT_A_TIME = 16
"""How many generations are taken over at a time: a process that dies may leave thousands."""

ADOPT_PAUSE_SECONDS = 0.25
"""The pause after a failed attempt to load a log. Another process may succeed in the meantime."""


class TakeOvers:
    """Takes over lapsed generations for the supervisor.

    Args:
        log: their records.
        directory: notices and assigns them.
        limiter: holds what they are charged.
        terms: returns what may answer now, and whether answers are rescued.
        hooks: get a report of what ends here; a generation that goes on reports itself.
        start: runs a generation in a task of its own. The limits do not apply: it was admitted when it was created.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        directory: Directory,
        limiter: Limiter,
        terms: Callable[[], Terms],
        hooks: Hooks,
        start: Callable[[Generation, ProviderSlot], Awaitable[None]],
    ) -> None:
        self._log = log
        self._directory = directory
        self._limiter = limiter
        self._terms = terms
        self._hooks = hooks
        self._start = start
        self._turns = anyio.Semaphore(TAKES_AT_A_TIME)
        self._in_progress: set[str] = set()
        self._noticing: anyio.CancelScope | None = None  # it needs the event loop
        self._has_stopped = False

    async def run(self) -> None:
        """Take over what lapses; runs until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as self._noticing:
                async for generation in self._directory.lapsed():
                    if generation not in self._in_progress:
                        self._in_progress.add(generation)
                        tasks.start_soon(self._take_over, generation)

    def stop(self) -> None:
        """Take over nothing more: this process is about to end."""
        self._has_stopped = True
        if self._noticing is not None:
            self._noticing.cancel()

    async def _take_over(self, generation: str) -> None:
        try:
            async with self._turns:
                if not self._has_stopped and (taken := await self._directory.take(generation)):
                    if taken.request is not None:  # else what it holds lapses
                        self._limiter.resume(generation, taken.request.principal)
                    try:
                        await self._go_on(generation, taken)
                    except BaseException:  # a lease that nobody uses must not be renewed for ever
                        self._limiter.hand_over(generation)
                        self._directory.abandon(generation)
                        raise
        except (GenerationNotFound, LogTakenOver):
            pass  # it is gone, or another process was faster
        except StreamsvcError as exc:  # it is reported again
            log(logger, logging.INFO, "takeover.failed", id=generation, code=exc.code)
        except Exception as exc:  # noqa: BLE001  # a bug of ours must not end the others
            log(logger, logging.ERROR, "takeover.crashed", id=generation, **fields_of(exc))
        finally:
            self._in_progress.discard(generation)

    async def _go_on(self, generation: str, taken: TakenOver) -> None:
        await self._adopt(generation)
        remains = await remains_of(self._log, generation)
        terms = self._terms()
        route = _route(terms, taken, remains)
        if taken.request is None or not route:
            await self._close(generation, _end_of(terms, taken, remains), taken)
            return
        entry = next((it for it in route if it.name == remains.called), route[0])
        with ProviderSlot(route, entry=entry) as slot:
            running = Generation(
                generation,
                taken.request,
                slot=slot,
                log=self._log,
                settings=terms.settings.generations,
                hooks=self._hooks,
                hand_over=self._directory.hand_over,
            )
            running.take_over(remains, times=taken.times)
            await self._start(running, slot)

    async def _adopt(self, generation: str) -> None:
        """Load the log. It is this process's: nobody else tries while the lease lasts.

        Raises:
            GenerationNotFound: it is gone.
            LogTakenOver: another process was faster after an outage.
        """
        while True:
            try:
                await self._log.adopt(generation)
            except StoreUnavailable:
                await anyio.sleep(ADOPT_PAUSE_SECONDS)
            else:
                return

    async def _close(self, generation: str, done: Done, taken: TakenOver) -> None:
        began_at = time.time()
        self._log.append(generation, done)
        await shielded(self._log.flush(generation), APPEND_SECONDS)
        request = taken.request
        trace = (request and request.trace) or UNTRACED
        self._hooks.notify(
            GenerationEnded(
                generation=generation,
                principal=request.principal if request else "",
                end="finished",
                model=done.model,
                done=done,
                began_at=began_at,
                seconds=0.0,
                first_token_seconds=None,
                calls=0,
                created_at=trace.began_at or began_at,
                trace=trace.own,
                parent=trace.parent,
                takes_over=taken.times,
            )
        )
        self._limiter.settle(generation, total_tokens(done.usage) if done.usage else 0)


def _route(terms: Terms, taken: TakenOver, remains: Remains) -> tuple[ProviderEntry, ...]:
    """Return the entries that may go on with an answer; none if it has to end."""
    must_end = taken.stop is not None or remains.standing.has_all_calls
    may_go_on = terms.settings.generations.rescue and taken.times <= MAX_DEATHS
    if must_end or not may_go_on or remains.standing.tool_calls or taken.request is None:
        return ()
    try:
        return terms.entries.route(taken.request.provider, taken.request.prompt)
    except RequestError:  # this process has other settings
        return ()


def _end_of(terms: Terms, taken: TakenOver, remains: Remains) -> Done:
    """Return the end of a generation that cannot go on."""
    ending = Ending(remains.provider, remains.model)
    if taken.stop is not None:
        done = ending.stopped(taken.stop)
    elif remains.standing.has_all_calls:  # clients may have acted on them: they are not taken back
        done = ending.finished(Finish(reason="tool_calls"))
    else:
        done = ending.lost()
    if taken.request is None or not remains.standing.has_begun:
        return done
    section = terms.settings.providers.get(remains.provider)
    counts_words = section is not None and section.counts_words
    usage = estimate(taken.request.prompt, remains.standing, counts_words=counts_words)
    return msgspec.structs.replace(done, usage=usage)
