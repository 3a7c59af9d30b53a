"""Starts generations, finds them, stops them, and brings them home when the service shuts down.

Every generation runs as a task of one task group, which is open for as long as the supervisor is
held as an async context manager: the application's lifespan.
"""

import base64
import hashlib
import logging
import os
from itertools import islice
from typing import Self

import anyio
import anyio.abc
import msgspec

from streamsvc.config.settings import Settings
from streamsvc.engine.audience import ViewerSlot
from streamsvc.engine.entries import ProviderEntries, ProviderEntry
from streamsvc.engine.generation import Generation
from streamsvc.errors import Draining, GenerationNotFound, InvalidField, Overloaded
from streamsvc.eventlog.base import EventLog
from streamsvc.events import Outcome
from streamsvc.messages import GenerationRequest
from streamsvc.providers.registry import ProviderRegistry

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""How long a stop waits for a generation to write its end."""

KEYS_AT_A_TIME = 8
"""How many idempotency keys are looked after with each new one; more than one, so that they dwindle."""

ID_PREFIX = "gen_"
_ID_BYTES = 20


class Supervisor:
    """The running generations of this process.

    Args:
        providers: whom to ask.
        log: where the events go.
        settings: bounds and waiting times.
    """

    _tasks: anyio.abc.TaskGroup

    def __init__(self, *, providers: ProviderRegistry, log: EventLog, settings: Settings) -> None:
        self._entries = ProviderEntries(providers)
        self._log = log
        self._settings = settings
        self._running: dict[str, Generation] = {}
        self._keys: dict[str, tuple[bytes, str]] = {}
        self._keying = anyio.Lock()
        self._viewer_count = _ViewerCount()
        self._draining = False
        self._idle = anyio.Event()

    async def __aenter__(self) -> Self:
        """Begin to take work."""
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """End every generation that is left, and wait for it."""
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)

    @property
    def is_draining(self) -> bool:
        """Whether the service has stopped taking new work."""
        return self._draining

    @property
    def running(self) -> int:
        """How many generations are running."""
        return len(self._running)

    @property
    def entries(self) -> ProviderEntries:
        """The provider entries, with what runs on them and how their circuits are."""
        return self._entries

    @property
    def viewers(self) -> int:
        """How many viewers are connected."""
        return self._viewer_count.size

    async def create(self, order: GenerationRequest, *, key: str | None = None) -> str:
        """Start a generation, and return its id once its log is open.

        Args:
            order: what is wanted.
            key: the client's idempotency key. While the first generation with it is kept, its id
                is returned, and nothing is started.

        Raises:
            InvalidField: an unknown provider or fault, or a key that stood for another order.
            ProviderNotReady: the provider's key is missing.
            Overloaded: a bound is reached.
            Draining: the service is shutting down.
        """
        route = self._entries.route(order.provider, fault=order.prompt.fault)
        if not key:
            return await self._start(order, route)
        fingerprint = hashlib.sha256(msgspec.json.encode(order)).digest()
        async with self._keying:
            if known := await self._known(key, fingerprint):
                return known
            generation_id = await self._start(order, route)
            self._keys[key] = (fingerprint, generation_id)
            return generation_id

    def viewer(self, generation_id: str) -> ViewerSlot:
        """Return what a viewer of a generation holds."""
        generation = self._running.get(generation_id)
        return (
            ViewerSlot(self._viewer_count)
            if generation is None
            else ViewerSlot(self._viewer_count, generation.audience)
        )

    def check_viewers(self) -> None:
        """Refuse one viewer too many.

        Raises:
            Overloaded: the bound is reached.
        """
        if self._viewer_count.size >= self._settings.limits.max_viewers:
            raise Overloaded("limits.max_viewers")

    async def stop(self, generation_id: str) -> None:
        """End a generation at once; one that has ended stays as it is.

        Raises:
            GenerationNotFound: it never was, or is no longer kept.
        """
        generation = self._running.get(generation_id)
        if generation is None:
            await self._log.read(generation_id, after=0)
            return
        generation.stop(Outcome.CLIENT_STOP)
        with anyio.move_on_after(STOP_SECONDS):
            await generation.ended.wait()

    async def drain(self, seconds: float) -> None:
        """Take no new work, let generations finish for *seconds*, then end the rest.

        Cancelled, it ends the rest at once, and returns when that is done.
        """
        self._draining = True
        logger.info(
            "drain.started generations=%d viewers=%d seconds=%g (a second signal ends the wait)",
            len(self._running), self._viewer_count.size, seconds,
        )  # fmt: skip
        try:
            with anyio.move_on_after(seconds):
                await self._wait_until_idle()
        finally:
            with anyio.move_on_after(STOP_SECONDS, shield=True):
                await self._end_the_rest()

    async def _end_the_rest(self) -> None:
        cut = len(self._running)
        for generation in self._running.values():
            generation.stop(Outcome.DRAINED)
        await self._wait_until_idle()
        logger.info("drain.finished cut=%d", cut)

    async def _start(self, order: GenerationRequest, route: tuple[ProviderEntry, ...]) -> str:
        self._check_room()
        generation = Generation(
            new_id(),
            order,
            route=route,
            log=self._log,
            settings=self._settings.generations,
        )
        self._running[generation.id] = generation
        try:
            await generation.open_log()
        except BaseException:
            self._leave(generation)
            raise
        self._tasks.start_soon(self._run, generation, name=generation.id)
        return generation.id

    async def _run(self, generation: Generation) -> None:
        try:
            await generation.run()
        finally:
            self._leave(generation)

    def _leave(self, generation: Generation) -> None:
        generation.leave()
        del self._running[generation.id]
        if not self._running:
            self._idle.set()

    async def _wait_until_idle(self) -> None:
        while self._running:
            if self._idle.is_set():
                self._idle = anyio.Event()
            await self._idle.wait()

    async def _known(self, key: str, fingerprint: bytes) -> str | None:
        """Return the generation that a key stands for, while there is one."""
        await self._forget_some_keys()
        if key not in self._keys or not await self._forget_if_dropped(key):
            return None
        first, generation_id = self._keys[key]
        if first != fingerprint:
            sentence = "This 'Idempotency-Key' was used with another request."
            raise InvalidField(sentence, field="Idempotency-Key")
        return generation_id

    async def _forget_some_keys(self) -> None:
        """Forget keys whose generations are no longer kept: a few at a time, each in its turn."""
        for key in list(islice(self._keys, KEYS_AT_A_TIME)):
            if await self._forget_if_dropped(key):
                self._keys[key] = self._keys.pop(key)

    async def _forget_if_dropped(self, key: str) -> bool:
        """Forget a key whose generation is no longer kept; tell whether it still is."""
        try:
            await self._log.read(self._keys[key][1], after=0)
        except GenerationNotFound:
            del self._keys[key]
            return False
        return True

    def _check_room(self) -> None:
        if self._draining:
            raise Draining
        if len(self._running) >= self._settings.limits.max_generations:
            raise Overloaded("limits.max_generations")


class _ViewerCount:
    """All viewers that are connected."""

    def __init__(self) -> None:
        self.size = 0

    def join(self) -> None:
        self.size += 1

    def leave(self) -> None:
        self.size -= 1


def new_id() -> str:
    """Return a new id: 160 random bits in letters and digits (RFC 4648, section 6, lower case)."""
    return ID_PREFIX + base64.b32encode(os.urandom(_ID_BYTES)).decode().lower()
