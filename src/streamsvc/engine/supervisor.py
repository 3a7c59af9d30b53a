"""Starts generations, finds and stops them through the directory, and drains its own at shutdown.

Every generation that runs here has a task (`tasks`), which ends before the supervisor is left: it is an async context
manager, entered for the application's lifespan. Generations whose process has died or left are taken over (`takeover`).
"""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Self

import anyio
import anyio.abc
import msgspec

from streamsvc.config.settings import Settings
from streamsvc.engine.admission import Limiter
from streamsvc.engine.audience import Count, ViewerSlot
from streamsvc.engine.directory.base import STOP_SECONDS, Directory, KeyUse
from streamsvc.engine.entries import ProviderEntries, ProviderSlot, Terms
from streamsvc.engine.generation import Generation
from streamsvc.engine.ids import new_id, scoped
from streamsvc.engine.takeover import TakeOvers
from streamsvc.engine.tasks import GenerationTasks
from streamsvc.engine.viewer_place import ViewerCount, ViewerPlace
from streamsvc.errors import Draining, InvalidField, Overloaded, StoreUnavailable
from streamsvc.eventlog.base import EventLog, LogTakenOver
from streamsvc.eventloop import now, shielded
from streamsvc.events import Outcome
from streamsvc.hooks import Hooks
from streamsvc.log_line import log
from streamsvc.messages import GenerationRequest
from streamsvc.principals import ANONYMOUS, Principal
from streamsvc.providers.registry import ProviderRegistry
from streamsvc.tracecontext import RequestTrace, Traces

logger = logging.getLogger(__name__)


class Supervisor:
    """Creates and stops generations; runs those that were created in this process.

    Args:
        providers: the configured providers.
        log: stores the events.
        directory: knows which generations run, here or elsewhere.
        limiter: limits what principals use.
        hooks: get reports of generations and calls.
        settings: limits and deadlines.
        id_mark: returns how the random part of a new id must begin.
        traces: makes the spans of generations.

    Attributes:
        terms: what new answers are made with.
    """

    _noticing: anyio.abc.TaskGroup  # lapsed generations

    def __init__(  # noqa: PLR0913  # what it needs, passed by name
        self,
        *,
        providers: ProviderRegistry,
        log: EventLog,
        directory: Directory,
        limiter: Limiter,
        hooks: Hooks,
        settings: Settings,
        id_mark: Callable[[], str] = str,
        traces: Traces | None = None,
    ) -> None:
        self.terms = Terms(settings, ProviderEntries(providers, hooks))
        self._hooks = hooks
        self._id_mark = id_mark
        self._traces = traces or Traces()
        self._log = log
        self._directory = directory
        self._limiter = limiter
        self._viewer_count = ViewerCount()
        self._data_bytes = 0  # of the images and files of running generations
        self._is_draining = False
        self._drains_until = 0.0
        self._handed_over = 0
        self._hand_over = directory.hand_over  # one object for all generations
        self._idle = anyio.Event()
        self._tasks = GenerationTasks()
        self._take_overs = TakeOvers(
            log=log,
            directory=directory,
            limiter=limiter,
            terms=lambda: self.terms,
            hooks=hooks,
            start=self._enter,
        )

    async def __aenter__(self) -> Self:
        """Start accepting work."""
        self._noticing = await anyio.create_task_group().__aenter__()
        self._noticing.start_soon(self._take_overs.run, name="take-overs")
        return self

    async def __aexit__(self, *exc: object) -> None:
        """End every generation that still runs here, and wait for it."""
        self._noticing.cancel_scope.cancel()
        self._stop_all()
        await self._noticing.__aexit__(None, None, None)
        self._stop_all()  # also those that have been taken over meanwhile
        await shielded(self._tasks.wait_ended())

    @property
    def is_draining(self) -> bool:
        """Whether the service has stopped accepting new work."""
        return self._is_draining

    @property
    def drain_seconds_left(self) -> float:
        """How long running generations may go on while the service drains."""
        return max(0.0, self._drains_until - now())

    @property
    def running(self) -> int:
        """How many generations run in this process."""
        return len(self._directory.running_here)

    @property
    def viewers(self) -> int:
        """How many viewers are connected to this process."""
        return self._viewer_count.size

    @property
    def entries(self) -> ProviderEntries:
        """The provider entries, with their slots and circuits."""
        return self.terms.entries

    def use(self, terms: Terms) -> None:
        """Make new answers on other terms; those that run keep theirs."""
        before, self.terms = self.terms, terms
        before.entries.retire()

    async def create(
        self,
        request: GenerationRequest,
        *,
        key: str | None = None,
        caller: Principal = ANONYMOUS,
        terms: Terms | None = None,
        asked_by: RequestTrace | None = None,
    ) -> str:
        """Start a generation, and return its id once its log is open.

        Args:
            request: what to generate.
            caller: whose it is, which `request` says, too.
            key: the client's idempotency key. While the log of the first generation with this key is kept,
                its id is returned, and nothing is started.
            terms: what to make the answer with, as they were when the request came; None: the current ones.
            asked_by: the trace of the request that it is for; a known key ignores it.

        Raises:
            InvalidField: an unknown provider or fault, or a key that was used with a different request.
            ModelNotFound: the caller may not use the model.
            UnsupportedParameter: the provider lacks a parameter, and does not drop it.
            ProviderNotReady: the provider's API key is missing.
            Overloaded: a limit is reached, or the store cannot be used.
            RateLimited: a limit of the caller, or of all callers, is reached.
            Draining: the service is shutting down.
        """
        terms = terms or self.terms
        if not key:
            return await self._start(request, caller, terms, asked_by)
        fingerprint = _fingerprint(request)
        async with self._directory.claim(scoped(caller.name, key)) as claim:
            if claim.use is None:
                generation = await self._start(request, caller, terms, asked_by)
                claim.use = KeyUse(fingerprint, generation)
            elif claim.use.fingerprint != fingerprint:
                sentence = "This 'Idempotency-Key' was used with a different request."
                raise InvalidField(sentence, field="Idempotency-Key")
            return claim.use.generation

    def viewer(self, generation_id: str, lease: Count | None = None) -> ViewerSlot:
        """Return a context that counts one viewer of a generation.

        Args:
            generation_id: the generation; if it has ended, the viewer reads what is stored.
            lease: what `viewer_place` has given; it ends with the context.
        """
        audience = self._directory.audience(generation_id)
        counts = (self._viewer_count, audience, lease)
        return ViewerSlot(*(it for it in counts if it is not None))

    def viewer_place(self, caller: Principal) -> ViewerPlace:
        """Return a context that keeps a place for a viewer while its response is prepared."""
        most = self.terms.settings.limits.max_viewers
        return ViewerPlace(self._viewer_count, most, partial(self._limiter.viewer, caller))

    async def stop(self, generation_id: str) -> None:
        """End a generation at once, wherever it runs; if it has already ended, do nothing.

        Raises:
            GenerationNotFound: it never existed, or is no longer kept.
        """
        if not await self._directory.stop(generation_id, Outcome.CLIENT_STOP):
            await self._log.read(generation_id, after=0)

    async def drain(self, seconds: float) -> None:
        """Refuse new work, give the generations of this process *seconds* to finish, then end the rest.

        If cancelled, it ends the rest at once, and returns when that is done.
        """
        self._is_draining = True
        self._drains_until = now() + seconds
        log(
            logger,
            logging.INFO,
            "drain.started",
            "a second signal ends the wait",
            generations=self.running,
            viewers=self.viewers,
            seconds=seconds,
        )
        try:
            with anyio.move_on_after(seconds):
                await self._wait_until_idle()
        finally:
            with anyio.move_on_after(STOP_SECONDS, shield=True):
                await self._end_the_rest()

    async def _end_the_rest(self) -> None:
        self._take_overs.stop()
        self._directory.retire()
        rest, before = self.running, self._handed_over
        self._stop_all()
        await self._wait_until_idle()
        handed_over = self._handed_over - before
        log(
            logger,
            logging.INFO,
            "drain.finished",
            cut=rest - handed_over,
            handed_over=handed_over or None,
        )

    def _stop_all(self) -> None:
        for generation in self._directory.running_here:
            generation.stop(Outcome.DRAINED)

    async def _start(
        self,
        request: GenerationRequest,
        caller: Principal,
        terms: Terms,
        asked_by: RequestTrace | None,
    ) -> str:
        """Start a generation, unless something refuses it. What is refused is charged to nobody."""
        route = terms.entries.route(request.provider, request.prompt, caller)
        self._check_room()
        if trace := self._traces.generation(asked_by):
            request = msgspec.structs.replace(request, trace=trace)
        with ProviderSlot(route) as slot:
            generation = Generation(
                new_id(request.principal, self._id_mark()),
                request,
                slot=slot,
                log=self._log,
                settings=terms.settings.generations,
                hooks=self._hooks,
                hand_over=self._hand_over,
            )
            self._check_data(generation)
            await self._limiter.admit(generation.id, caller, request.prompt)
            try:
                # From here to `Directory.enter` nothing waits, so the limits of this process hold from check to use.
                self._check_room()
                self._check_data(generation)
                await self._enter(generation, slot, generation.open_log)
            except BaseException as exc:
                self._limiter.cancel(generation.id)
                if isinstance(exc, LogTakenOver):
                    raise StoreUnavailable("silent") from exc
                raise
        return generation.id

    async def _enter(
        self,
        generation: Generation,
        slot: ProviderSlot,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Run a generation in a task of its own, which releases its slot.

        If the request is cancelled meanwhile, it starts nevertheless: its log may be stored. It has no viewers.
        """
        self._data_bytes += generation.data_bytes
        try:
            await shielded(self._directory.enter(generation))
            if prepare is not None:
                await shielded(prepare())
            on_end = partial(self._ended, generation, slot)
            self._tasks.start(generation.id, generation.run, on_end)
        except BaseException:
            self._leave(generation)
            raise
        slot.hand_over()

    def _ended(self, generation: Generation, slot: ProviderSlot) -> None:
        with slot:
            self._handed_over += generation.end == "handed_over"
            self._leave(generation)
            if generation.goes_on_elsewhere:
                self._limiter.hand_over(generation.id)
            else:
                self._limiter.settle(generation.id, generation.used_tokens)

    def _leave(self, generation: Generation) -> None:
        self._data_bytes -= generation.data_bytes
        self._directory.leave(generation)
        if not self.running:
            self._idle.set()

    async def _wait_until_idle(self) -> None:
        while self.running:
            if self._idle.is_set():
                self._idle = anyio.Event()
            await self._idle.wait()

    def _check_room(self) -> None:
        if self._is_draining:
            raise Draining
        if self.running >= self.terms.settings.limits.max_generations:
            raise Overloaded("limits.max_generations")

    def _check_data(self, generation: Generation) -> None:
        """Bound the memory of images and files: a running answer keeps them for a retry or a fallback."""
        most = self.terms.settings.limits.max_total_data_bytes
        if generation.data_bytes and self._data_bytes + generation.data_bytes > most:
            raise Overloaded("limits.max_total_data_bytes")


def _fingerprint(request: GenerationRequest) -> bytes:
    """Return what is equal for equal requests of a client, also if the settings have changed between them."""
    if request.is_usual:
        request = msgspec.structs.replace(request, provider="")
    return hashlib.sha256(msgspec.json.encode(request)).digest()
