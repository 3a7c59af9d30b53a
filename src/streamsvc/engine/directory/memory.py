"""The directory in the memory of this process, which is the only one."""

import math
from collections.abc import AsyncIterator, Awaitable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import islice

import anyio
import msgspec
from typing_extensions import override

from streamsvc.config.settings import Settings
from streamsvc.engine.audience import Count
from streamsvc.engine.directory.base import (
    STOP_SECONDS,
    ChatAnswer,
    Directory,
    KeyClaim,
    KeyUse,
    RunningGeneration,
    TakenOver,
)
from streamsvc.errors import GenerationNotFound
from streamsvc.eventlog.base import EventLog
from streamsvc.eventloop import NO_WAIT, now
from streamsvc.events import Outcome

KEYS_AT_A_TIME = 8
"""How many idempotency keys each claim checks; more than the one it may add, so that stale keys disappear."""

MAX_CONTEXT_BYTES = 64_000_000
"""How much the contexts of all chats together may take."""


class MemoryDirectory(Directory):
    """The directory of a service that is one process.

    The number of chats is limited to the number of logs there can be, and the size of their contexts to
    `MAX_CONTEXT_BYTES`; beyond that, the oldest are forgotten.

    Args:
        log: knows which generations are still kept.
        settings: the limit on chats follows from `limits` and `generations`.
    """

    def __init__(self, log: EventLog, settings: Settings) -> None:
        self._log = log
        self._max_chats = settings.limits.max_generations + settings.generations.keep_count
        self._running: dict[str, RunningGeneration] = {}
        self._keys: dict[str, KeyUse] = {}
        self._keying = anyio.Lock()  # one lock for all keys: a claim only waits for its `Start`
        self._chats: dict[str, _Chat] = {}
        self._context_bytes = 0

    @property
    @override
    def running_here(self) -> Collection[RunningGeneration]:
        return self._running.values()

    @property
    def keys(self) -> int:
        """How many idempotency keys are remembered."""
        return len(self._keys)

    @property
    def chats(self) -> int:
        """How many chats are remembered."""
        return len(self._chats)

    @override
    def enter(self, generation: RunningGeneration) -> Awaitable[None]:
        self._running[generation.id] = generation
        return NO_WAIT

    @override
    def leave(self, generation: RunningGeneration) -> None:
        del self._running[generation.id]

    @override
    async def lapsed(self) -> AsyncIterator[str]:
        await anyio.Event().wait()  # and not `sleep_forever`, which sets a timer
        yield ""  # never reached: there is no other process

    @override
    async def take(self, generation: str) -> TakenOver | None:
        return None

    @override
    def abandon(self, generation: str) -> None:
        pass

    @override
    async def hand_over(self, generation: RunningGeneration) -> bool:
        return False

    @override
    def retire(self) -> None:
        pass

    @override
    async def stop(self, generation: str, outcome: Outcome) -> bool:
        running = self._running.get(generation)
        if running is None:
            return False
        running.stop(outcome)
        with anyio.move_on_after(STOP_SECONDS):
            await running.wait_ended()
        return True

    @override
    def audience(self, generation: str) -> Count | None:
        running = self._running.get(generation)
        return None if running is None else running.audience

    @override
    def claim(self, key: str) -> AbstractAsyncContextManager[KeyClaim]:
        return self._claim(key)

    @asynccontextmanager
    async def _claim(self, key: str) -> AsyncIterator[KeyClaim]:
        async with self._keying:
            await self._check_some_keys()
            known = key in self._keys and await self._still_stands(key)
            claim = KeyClaim(self._keys[key] if known else None)
            yield claim
            if claim.use is not None:
                self._keys[key] = claim.use

    async def _check_some_keys(self) -> None:
        """Forget keys whose generations have been dropped: check a few at a time, in turn."""
        for key in list(islice(self._keys, KEYS_AT_A_TIME)):
            if await self._still_stands(key):
                self._keys[key] = self._keys.pop(key)

    async def _still_stands(self, key: str) -> bool:
        """Return whether a key's generation is still kept; if it is not, forget the key."""
        try:
            await self._log.read(self._keys[key].generation, after=0)
        except GenerationNotFound:
            del self._keys[key]
            return False
        return True

    @override
    async def put_answer(self, chat: str, answer: ChatAnswer) -> str | None:
        before = self._forget(chat) if chat in self._chats else None
        self._chats[chat] = _Chat(answer)
        self._context_bytes += len(answer.context)
        while len(self._chats) > self._max_chats or self._context_bytes > MAX_CONTEXT_BYTES:
            self._forget(next(iter(self._chats)))
        return before

    @override
    async def answer(self, chat: str) -> ChatAnswer | None:
        kept = self._chats.get(chat)
        if kept is None:
            return None
        if kept.over_at <= now():
            self._forget(chat)
            return None
        return kept.answer

    @override
    async def drop_answer(self, chat: str) -> str | None:
        answer = await self.answer(chat)
        if answer is None:
            return None
        return self._forget(chat)

    def _forget(self, chat: str) -> str:
        """Forget a chat; return the generation of its latest answer."""
        answer = self._chats.pop(chat).answer
        self._context_bytes -= len(answer.context)
        return answer.generation

    @override
    def mark_sent(self, chat: str, answer: ChatAnswer) -> None:
        kept = self._chats.get(chat)
        if kept is not None and kept.answer.turn == answer.turn:
            kept.answer = msgspec.structs.replace(kept.answer, was_sent=True)
            kept.over_at = now() + kept.answer.grace_seconds


class _Chat(msgspec.Struct):
    """The latest answer of a chat, and the time after which no client is expected to come back for it."""

    answer: ChatAnswer
    over_at: float = math.inf  # until it has been sent to some client completely
