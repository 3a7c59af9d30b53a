"""Workers ask each other over Unix sockets: the living answer, and no other harms the one that asks."""

import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest

from streamsvc.server.workers import serve
from streamsvc.telemetry.peers import Peers
from streamsvc.telemetry.place import ALONE, Place, addressable, make_directory
from support.owned import own_tasks


@pytest.fixture
def directory() -> Iterator[str]:
    made = make_directory()
    yield made
    shutil.rmtree(made)


async def answers(place: Place) -> bool:
    """Return whether a worker accepts connections."""
    with suppress(OSError):
        with addressable(place.socket) as address:
            connection = await anyio.connect_unix(address)
        async with connection:
            await connection.send(b"what\n")
            return bool(await connection.receive())
    return False


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[Peers]:
    """Run a worker that answers with its place and what it was asked."""
    peers = Peers(place)

    async def answer(*words: str) -> bytes:
        if "fail" in words:
            raise RuntimeError
        if "never" in words:
            await anyio.sleep_forever()
        return f"{place.number}.{place.start} {' '.join(words)}".encode() * 10_000

    peers.answers["what"] = answer
    async with own_tasks() as tasks:
        tasks.start_soon(peers.run)
        with anyio.fail_after(10):
            while place.directory and not await answers(place):
                await anyio.lowlevel.checkpoint()
        yield peers
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def three(directory: str) -> AsyncIterator[Peers]:
    """Run worker 1, worker 2, and the one that worker 2 replaces; worker 3 is missing."""
    async with AsyncExitStack() as stack:
        for start in (1, 3):
            await stack.enter_async_context(running(Place(directory, 2, start, 3)))
        yield await stack.enter_async_context(running(Place(directory, 1, 0, 3)))


async def test_every_worker_answers_under_a_name_of_its_own(directory: str) -> None:
    async with three(directory) as peers:
        answers = await peers.ask("what", "now")
    expected = {"1": "1.0 now 1", "2": "2.3 now 2", "2.1": "2.1 now 2.1"}
    given = {
        name: answer[: len(expected[name])].decode() for name, answer in answers.items() if answer
    }
    assert given == expected
    assert answers["3"] is None
    assert list(answers) == ["1", "2", "2.1", "3"]
    assert all(len(answer) % 10_000 == 0 for answer in answers.values() if answer)


async def test_only_this_user_may_ask(directory: str) -> None:
    assert Path(directory).stat().st_mode & 0o777 == 0o700  # noqa: ASYNC240  # at once
    async with running(Place(directory)):
        assert Place(directory).socket.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("word", ["fail", "never"])
async def test_worker_that_fails_or_hangs_gives_no_answer(directory: str, word: str) -> None:
    place = Place(directory, 2, 1, 2)
    async with running(place) as other, running(Place(directory, 1, 0, 2)) as peers:

        async def own(*_: str) -> bytes:
            return b"own"

        peers.answers["what"] = own
        assert await peers.ask("what", word) == {"1": b"own", "2": None}
        assert (await other.ask("what", "now"))["2"]  # it goes on


async def test_socket_of_a_dead_worker_is_no_answer(directory: str) -> None:
    dead = Place(directory, 2, 1, 2)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(dead.socket))
    async with running(Place(directory, 1, 0, 2)) as peers:
        assert (await peers.ask("what"))["2"] is None
    dead.remove()
    dead.remove()


@pytest.mark.parametrize("raw", [b"", b"no newline", b"x" * 1000, b"unknown\n", b"\n", b"\xff\n"])
async def test_nonsense_gets_nothing_and_harms_nobody(directory: str, raw: bytes) -> None:
    place = Place(directory)
    async with running(place) as peers:
        with addressable(place.socket) as address:
            connection = await anyio.connect_unix(address)
        async with connection:
            if raw:
                await connection.send(raw)
            await connection.send_eof()
            with anyio.fail_after(10), pytest.raises(anyio.EndOfStream):
                await connection.receive()
        assert (await peers.ask("what"))["1"]


async def test_process_without_others_asks_itself() -> None:
    async with running(ALONE) as peers:
        assert list(await peers.ask("what")) == ["1"]


async def test_directory_that_is_gone_is_logged(
    directory: str, caplog: pytest.LogCaptureFixture
) -> None:
    peers = Peers(Place(f"{directory}/gone"))
    await peers.run()
    assert "peers.unreachable exception=FileNotFoundError" in caplog.text


async def test_one_that_no_longer_waits_is_no_failure(
    directory: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = Place(directory)
    async with running(place) as peers:
        for _ in range(3):
            async with await anyio.connect_unix(place.socket) as connection:
                await connection.send(b"what\n")  # and does not read
        assert (await peers.ask("what"))["1"]
    assert "peers.unanswered" not in caplog.text


def test_other_files_in_the_directory_are_no_workers(directory: str) -> None:
    for name in ("core", "1", "x.1", "1.x"):
        Path(directory, name).touch()
    assert [it.name for it in Place(directory, 1, 0, 2).peers()] == ["1", "2"]
    ALONE.remove()
    ALONE.remove_directory()


def test_directory_stays_while_a_worker_has_a_socket_in_it(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    first, last = Place(str(made), 1), Place(str(made), 2)
    last.socket.touch()
    first.remove_directory()
    assert made.exists()
    last.remove()
    last.remove_directory()
    assert not made.exists()


def test_workers_without_a_directory_are_apart(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    assert serve._directory() == ""
    assert "workers.apart errno=2" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="a directory has no short name elsewhere")
async def test_workers_find_each_other_however_long_the_path_is(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    async with running(Place(str(deep), 1, 0, 2)) as one, running(Place(str(deep), 2, 1, 2)):
        with anyio.fail_after(10):
            answered = await one.ask("what", "now")
    starts = {name: (answer or b"")[:7] for name, answer in answered.items()}
    assert starts == {"1": b"1.0 now", "2": b"2.1 now"}
    assert [*deep.iterdir()] == []
