"""The in-memory directory passes the conformance suite, and forgets old chats."""

import anyio
import msgspec
import pytest
from directory_conformance import CONTRACT, Check, Subject, answer_of

from streamsvc.config.settings import GenerationSettings, LimitSettings, Settings
from streamsvc.engine.directory import memory
from streamsvc.engine.directory.base import ChatAnswer
from streamsvc.engine.directory.memory import MemoryDirectory
from streamsvc.eventlog.memory import MemoryEventLog
from support.doubles import virtual_backends

anyio_backend = virtual_backends()

MAX_CHATS = 4


def new_directory() -> tuple[MemoryDirectory, MemoryEventLog]:
    settings = Settings(
        limits=LimitSettings(max_generations=1),
        generations=GenerationSettings(keep_count=MAX_CHATS - 1),
    )
    log = MemoryEventLog(settings.generations)
    return MemoryDirectory(log, settings), log


@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.promise("resume:no-gap")
@pytest.mark.promise("cancel:stop")
@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_the_in_memory_directory_conforms(check: Check) -> None:
    directory, log = new_directory()
    with anyio.fail_after(100_000):
        await check(Subject(directory, log, drop=log._streams.__delitem__))


async def test_beyond_the_limit_the_oldest_chats_are_forgotten() -> None:
    """The age of a chat is that of its latest answer."""
    directory, _ = new_directory()
    names = [str(number) for number in range(MAX_CHATS)]
    for name in names:
        await directory.put_answer(name, answer_of(name))
    assert await directory.put_answer("0", answer_of("again")) == "0"
    await directory.put_answer("one more", answer_of("one more"))
    found = {name for name in (*names, "one more") if await directory.answer(name)}
    assert found == {*names, "one more"} - {"1"}


async def test_a_chat_whose_grace_is_over_takes_no_memory() -> None:
    directory, _ = new_directory()
    answer = answer_of("gen_a", grace_seconds=1)
    await directory.put_answer("chat", answer)
    directory.mark_sent("chat", answer)
    await anyio.sleep(1)
    assert await directory.answer("chat") is None
    assert directory.chats == 0


async def test_contexts_of_all_chats_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest chats are forgotten; an answer that is replaced or dropped no longer counts."""
    monkeypatch.setattr(memory, "MAX_CONTEXT_BYTES", 10)
    directory, _ = new_directory()
    for chat in ("a", "b", "b"):
        await directory.put_answer(chat, with_context(chat, 5))
    assert directory.chats == 2
    await directory.put_answer("c", with_context("c", 5))
    assert await directory.answer("a") is None
    assert await directory.drop_answer("b") == "b"
    await directory.put_answer("d", with_context("d", 5))
    assert directory.chats == 2
    await directory.put_answer("e", with_context("e", 11))
    assert directory.chats == 0


def with_context(generation: str, size: int) -> ChatAnswer:
    return msgspec.structs.replace(answer_of(generation), context=b"x" * size)
