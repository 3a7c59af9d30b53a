"""The latest answers of chats.

That an answer was sent is noted without waiting. Until the store has that, each call for the same chat says it again,
so calls of this process see it. While the store cannot be used, a chat's answer is known to the process that runs it.
"""

from collections.abc import Container
from contextlib import suppress
from typing import Any

import anyio
import msgspec

from streamsvc.engine.directory.base import ChatAnswer
from streamsvc.engine.directory.notes import Notes
from streamsvc.errors import StoreUnavailable
from streamsvc.store import scripts
from streamsvc.store.client import Argument, Store

UNSENT_SECONDS = 86_400
"""How long an answer that nobody has fetched is remembered."""

RETRY_SECONDS = 1.0
"""The pause between two attempts to store an answer."""


class Chats:
    """The latest answer of each chat.

    Args:
        store: has them.
        running: the ids of the generations that run here.
        limit: how many chats are remembered here while the store cannot be used.
    """

    def __init__(self, store: Store, running: Container[str], *, limit: int) -> None:
        self._store = store
        self._running = running
        self._here: dict[str, ChatAnswer] = {}
        self._chats: dict[str, str] = {}
        self._storing = anyio.Lock()
        self._sent: Notes[ChatAnswer] = Notes(limit)
        self._unstored: Notes[ChatAnswer] = Notes(limit)

    async def put(self, chat: str, answer: ChatAnswer) -> str | None:
        """Make an answer the latest; see `Directory.put_answer`."""
        if answer.generation in self._running:
            self._note_here(chat, answer)
        before = self._unstored.pop(chat)
        with anyio.CancelScope(shield=True):
            try:
                if before is None:
                    return await self._put(chat, answer)
                async with self._storing:  # it may be on its way
                    await self._put(chat, answer)
            except StoreUnavailable:
                self._unstored.put(chat, answer)
        return None if before is None else before.generation

    async def get(self, chat: str) -> ChatAnswer | None:
        """Return the latest answer; see `Directory.answer`."""
        if answer := self._unstored.get(chat):
            return answer
        try:
            data, was_sent = await self._run("answer", chat)
        except StoreUnavailable:
            if chat not in self._here:
                raise
            return self._here[chat]
        if data is None:
            return None
        answer = msgspec.msgpack.decode(data, type=ChatAnswer)
        return msgspec.structs.replace(answer, was_sent=was_sent is not None)

    async def drop(self, chat: str) -> str | None:
        """Forget the latest answer; see `Directory.drop_answer`."""
        before = self._unstored.pop(chat)
        try:
            if before is None:
                stored: bytes | None = await self._run("drop", chat)
                return None if stored is None else stored.decode()
            async with self._storing:  # it may be on its way
                await self._run("drop", chat)
        except StoreUnavailable:
            before = before or self._here.get(chat)
            if before is None:
                raise
        return before.generation

    def ended(self, generation: str) -> None:
        """Forget what is only needed while a generation runs here."""
        chat = self._chats.pop(generation, None)
        if chat is not None and self._here[chat].generation == generation:
            del self._here[chat]

    def mark_sent(self, chat: str, answer: ChatAnswer) -> None:
        """Note that an answer was sent; see `Directory.mark_sent`."""
        kept = self._unstored.get(chat)
        if kept is None:
            self._sent.put(chat, answer)
        elif kept.turn == answer.turn:
            self._unstored.put(chat, msgspec.structs.replace(kept, was_sent=True))

    async def run(self) -> None:
        """Store what is noted here; runs until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_marking)
            tasks.start_soon(self._keep_storing)

    def _note_here(self, chat: str, answer: ChatAnswer) -> None:
        if earlier := self._here.get(chat):
            self._chats.pop(earlier.generation, None)
        self._here[chat] = answer
        self._chats[answer.generation] = chat

    async def _put(self, chat: str, answer: ChatAnswer) -> str | None:
        stored: bytes | None = await self._run(
            "put",
            chat,
            msgspec.msgpack.encode(answer),
            answer.generation,
            answer.turn,
            UNSENT_SECONDS * 1000,
        )
        return None if stored is None else stored.decode()

    async def _run(self, what: str, chat: str, *arguments: Argument) -> Any:
        """Run the script of chats; say first what the store may not know yet."""
        sent = self._sent.get(chat)
        turn, grace_ms = (sent.turn, int(sent.grace_seconds * 1000)) if sent else (b"", 0)
        key = self._store.keys.chat(chat)
        reply = await self._store.run(scripts.CHAT, [key], [what, turn, grace_ms, *arguments])
        if sent is not None:
            self._sent.pop(chat, sent)
        return reply

    async def _keep_marking(self) -> None:
        while True:
            await self._sent.wait()
            try:
                for chat, _ in self._sent:
                    await self._run("mark", chat)
            except StoreUnavailable:
                await self._store.health.wait_usable()
                await anyio.sleep(RETRY_SECONDS)

    async def _keep_storing(self) -> None:
        while True:
            await self._unstored.wait()
            await self._store.health.wait_usable()
            for chat, answer in self._unstored:
                await self._store_later(chat, answer)
            await anyio.sleep(RETRY_SECONDS)

    async def _store_later(self, chat: str, answer: ChatAnswer) -> None:
        async with self._storing:
            if self._unstored.get(chat) is not answer:
                return
            with suppress(StoreUnavailable):
                await self._put(chat, answer)
                self._unstored.pop(chat, answer)
                if answer.was_sent:
                    self.mark_sent(chat, answer)
