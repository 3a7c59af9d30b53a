"""A store that several processes share, and processes that use it, all in one event loop.

Like the real one it has owners, epochs and lapsed leases; nothing is sent anywhere. It can be unavailable, and a
process can be slow to store, die, or fall asleep.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
from typing_extensions import override

from streamsvc.config.settings import GenerationSettings, LimitSettings, Settings
from streamsvc.engine.admission import Limiter, Unlimited
from streamsvc.engine.audience import Count
from streamsvc.engine.directory.base import RunningGeneration, TakenOver
from streamsvc.engine.directory.memory import MemoryDirectory
from streamsvc.engine.supervisor import Supervisor
from streamsvc.errors import GenerationNotFound, StoreUnavailable
from streamsvc.eventlog.base import EventLog, Following, LogTakenOver, Reader
from streamsvc.eventlog.shared import SharedMemory, SharedStream
from streamsvc.events import Done, Event, Outcome, Record, Start
from streamsvc.messages import GenerationRequest
from streamsvc.providers.base import Provider
from support.doubles import Providers, events_of
from support.logged import logged


class Kept(msgspec.Struct):
    """What the store has of a generation."""

    owner: "StoredLog | None"
    epoch: int = 0
    released: int = 0
    records: list[Record] = []
    request: GenerationRequest | None = None
    stop: Outcome | None = None

    @property
    def outcome(self) -> Outcome | None:
        """How it has ended; None while it runs."""
        last = self.records[-1].event if self.records else None
        return last.outcome if isinstance(last, Done) else None


class SharedStore:
    """What all processes share.

    Attributes:
        kept: by generation.
        logs: of the processes.
        is_down: whether it cannot be used.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.logs: list[StoredLog] = []
        self.is_down = False

    def check(self) -> None:
        """Fail while the store cannot be used."""
        if self.is_down:
            raise StoreUnavailable("unreachable")

    def add(self, record: Record) -> None:
        """Store a record; processes that have a copy get it."""
        self.kept[record.generation].records.append(record)
        for log in self.logs:
            stream = log.memory.stream(record.generation)
            if isinstance(stream, SharedStream) and stream.is_copy:
                log.memory.extend(stream, [record])

    def lapse(self, generation: str) -> None:
        """End the lease of a generation: everybody notices."""
        for log in self.logs:
            if not log.is_dead:
                log.lapsed.append(generation)
                log.noticed.set()


class StoredLog(EventLog):
    """The log of one process.

    Attributes:
        memory: its logs and copies.
        lapsed: the generations that it must notice ...
        noticed: ... set when there is one.
        is_slow: whether records are stored only by a flush.
        is_dead: whether the process is gone: nothing that it does has an effect.
        opening_fails: what a flush fails with before anything is stored.
    """

    def __init__(self, store: SharedStore, settings: GenerationSettings) -> None:
        self.store = store
        self.memory = SharedMemory(settings)
        self.lapsed: list[str] = []
        self.noticed = anyio.Event()
        self.is_slow = self.is_dead = False
        self.adopting_fails = 0
        self._unstored: dict[str, list[Record]] = {}
        store.logs.append(self)

    @override
    def append(self, generation: str, event: Event) -> None:
        if self.is_dead:
            return
        kept = self.store.kept.get(generation)
        if kept is None and isinstance(event, Start):
            self.store.kept[generation] = Kept(self)
        elif kept is None:
            raise GenerationNotFound
        elif kept.owner is not self:
            raise LogTakenOver
        self.memory.append(generation, event)
        stream = self.memory.stream(generation)
        assert stream is not None
        self._unstored.setdefault(generation, []).append(Record(generation, stream.tail, event))
        if not self.is_slow and not self.store.is_down:
            self._write(generation)

    def _write(self, generation: str) -> None:
        for record in self._unstored.pop(generation, []):
            self.store.add(record)

    @override
    async def flush(self, generation: str) -> None:
        await anyio.lowlevel.checkpoint()
        if self.is_dead:
            return
        if self.store.is_down and not self.store.kept[generation].records:
            del self.store.kept[generation]
            self.memory.drop(generation)
        self.store.check()
        if self.store.kept[generation].owner is not self:
            raise LogTakenOver
        self._write(generation)

    @override
    async def adopt(self, generation: str) -> None:
        await anyio.lowlevel.checkpoint()
        if self.adopting_fails:
            self.adopting_fails -= 1
            raise StoreUnavailable("silent")
        kept = self.store.kept.get(generation)
        if kept is None:
            raise GenerationNotFound
        if kept.owner is not self:
            raise LogTakenOver
        self.memory.own(self._copy(generation), kept.epoch)

    def _copy(self, generation: str) -> SharedStream:
        stream = self.memory.stream(generation)
        if not isinstance(stream, SharedStream):
            stream = self.memory.open_copy(generation)
        self.memory.extend(stream, self.store.kept[generation].records)
        return stream

    def lose(self, generation: str) -> None:
        """Go on with a copy: another process writes it now."""
        self._unstored.pop(generation, None)
        copy = self.memory.open_copy(generation)
        kept = self.store.kept[generation]
        self.memory.extend(copy, kept.records)
        self.memory.begin_epoch(copy, kept.epoch)

    @override
    async def read(
        self, generation: str, *, after: int, wait_seconds: float = 0.0
    ) -> Sequence[Record]:
        self._look(generation)
        return await self.memory.read(generation, after=after, wait_seconds=wait_seconds)

    @override
    def follow(self, generation: str, *, after: int, reader: Reader) -> Following:
        self._look(generation)
        return self.memory.follow(generation, after=after, reader=reader)

    def _look(self, generation: str) -> None:
        if self.memory.stream(generation) is None and generation in self.store.kept:
            self._copy(generation)


class StoredDirectory(MemoryDirectory):
    """The directory of one process. Keys and chats are not shared.

    Attributes:
        takes: which generations it has tried to take over.
        hanging: whether handing over hangs.
    """

    def __init__(self, store: SharedStore, log: StoredLog, settings: Settings) -> None:
        super().__init__(log, settings)
        self.takes: list[str] = []
        self.hanging = False
        self.taking_fails: Exception | None = None
        self._store = store
        self._shared = log

    @override
    async def enter(self, generation: RunningGeneration) -> None:
        await super().enter(generation)
        self._store.check()
        await anyio.lowlevel.checkpoint()

    @override
    def leave(self, generation: RunningGeneration) -> None:
        if self._running.get(generation.id) is generation:
            super().leave(generation)

    def request_of(self, generation: str) -> GenerationRequest:
        """Store the request of a generation that runs here, as a process does at its start."""
        request = self._running[generation].request
        self._store.kept[generation].request = request
        return request

    @override
    async def lapsed(self) -> AsyncIterator[str]:
        while True:
            while self._shared.lapsed:
                yield self._shared.lapsed.pop(0)
            self._shared.noticed = anyio.Event()
            await self._shared.noticed.wait()

    @override
    async def take(self, generation: str) -> TakenOver | None:
        self.takes.append(generation)
        await anyio.lowlevel.checkpoint()
        self._store.check()
        if self.taking_fails is not None:
            raise self.taking_fails
        kept = self._store.kept.get(generation)
        if kept is None or kept.outcome or generation in self._running:
            return None
        if kept.owner is not None and not kept.owner.is_dead:
            return None
        kept.owner = self._shared
        kept.epoch += 1
        return TakenOver(kept.request, stop=kept.stop, times=kept.epoch - kept.released)

    @override
    async def hand_over(self, generation: RunningGeneration) -> bool:
        if self.hanging:
            await anyio.sleep_forever()
        kept = self._store.kept[generation.id]
        if self._shared.is_dead or kept.request is None:
            return False
        await self._shared.flush(generation.id)
        kept.owner = None
        kept.released += 1
        self._shared.memory.interrupt(generation.id)
        self._shared.memory.drop(generation.id)
        self._store.lapse(generation.id)
        return True

    @override
    def audience(self, generation: str) -> Count | None:
        return super().audience(generation)


class Taking(Reader):
    """A reader that takes everything.

    Attributes:
        taken: what it got.
        is_interrupted: whether it was sent away.
    """

    def __init__(self) -> None:
        self.taken: list[Record] = []
        self.is_interrupted = False

    @override
    def deliver(self, records: Sequence[Record]) -> int:
        self.taken += records
        return len(records)

    @override
    def lost(self) -> None:
        raise AssertionError

    @override
    def interrupted(self) -> None:
        self.is_interrupted = True


class Worker(Supervisor):
    """A process: a supervisor over scripted providers, a log and a directory over a shared store."""

    def __init__(
        self,
        store: SharedStore,
        providers: Mapping[str, Provider],
        *,
        room: int = 100,
        generations: Mapping[str, Any] | None = None,
        limiter: Limiter | None = None,
        **sections: Any,
    ) -> None:
        registry = Providers(providers, **{"backoff_seconds": 0.0, **sections})
        settings = Settings(
            generations=GenerationSettings(**{"attach_seconds": 5.0, **(generations or {})}),
            limits=LimitSettings(max_generations=room),
            providers=dict(registry.entries),
        )
        self.store = store
        self.log = StoredLog(store, settings.generations)
        self.directory = StoredDirectory(store, self.log, settings)
        super().__init__(
            providers=registry,
            log=self.log,
            directory=self.directory,
            limiter=limiter or Unlimited(),
            settings=settings,
            hooks=logged(),
        )

    async def start(self, request: GenerationRequest) -> str:
        """Start a generation whose request other processes can read."""
        generation = await self.create(request)
        self.directory.request_of(generation)
        return generation

    def die(self) -> None:
        """Stop for good, without a word; everybody notices as soon as the leases lapse."""
        self.log.is_dead = True
        for generation, kept in self.store.kept.items():
            if kept.owner is self.log and not kept.outcome:
                self.store.lapse(generation)

    def fall_asleep(self, generation: str) -> None:
        """Miss a beat: another process may take a generation over, and this one does not know."""
        self.store.kept[generation].owner = None
        self.store.lapse(generation)

    async def events(self, generation: str) -> list[Event]:
        """Watch a generation to its end; return its events."""
        with self.viewer(generation):
            return await events_of(self.log, generation)


@asynccontextmanager
async def workers(*some: Worker) -> AsyncIterator[None]:
    """Run some processes."""
    with anyio.fail_after(10_000):
        async with anyio.create_task_group() as tasks:
            ready = [anyio.Event() for _ in some]
            over = anyio.Event()

            async def run(worker: Worker, is_ready: anyio.Event) -> None:
                async with worker:
                    is_ready.set()
                    await over.wait()

            for worker, is_ready in zip(some, ready, strict=True):
                tasks.start_soon(run, worker, is_ready)
                await is_ready.wait()
            yield
            over.set()
