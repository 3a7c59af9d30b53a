"""Log lines: one per record, only the type and frames of an exception, and no waiting for the reader."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from typing_extensions import override

from streamsvc.config.settings import ServerSettings
from streamsvc.server import logs
from streamsvc.server.log_formats import LINE_BYTES, TextFormatter
from streamsvc.server.logs import BackgroundHandler
from streamsvc.traces import describe

SECRET = "xyzzy-plugh"


def a_record(message: str, *args: object, exc: BaseException | None = None) -> logging.LogRecord:
    exc_info = None if exc is None else (type(exc), exc, exc.__traceback__)
    return logging.LogRecord("a", logging.ERROR, __file__, 1, message, args, exc_info)


def raised(exc: Exception) -> Exception:
    """Return an exception with a traceback."""
    with pytest.raises(type(exc)) as caught:
        raise exc
    return caught.value


@contextmanager
def handler(*, lines: int = 100) -> Iterator[tuple[BackgroundHandler, int]]:
    """Yield a handler and the read end of its pipe."""
    reader, writer = os.pipe()
    made = BackgroundHandler(writer, lines=lines)
    made.setFormatter(TextFormatter("%(levelname)s %(message)s"))
    try:
        yield made, reader
    finally:
        os.close(reader)
        made.close()
        os.close(writer)


@pytest.mark.promise("secret:kept")
def test_an_exception_is_one_line_with_its_type_and_place() -> None:
    exc = raised(ExceptionGroup(SECRET, [raised(ValueError(SECRET))]))
    line = TextFormatter("%(message)s").format(a_record("boom\n%s", "a\r\nb\x1b[2J", exc=exc))
    assert line.startswith("boom\\na\\r\\nb\\x1b[2J exception=ValueError at=test_logs.py:")
    assert SECRET not in line
    assert line.isprintable()


@pytest.mark.promise("secret:kept")
def test_a_crash_is_described_by_our_frames_without_values() -> None:
    with pytest.raises(RuntimeError) as caught:
        asyncio.run(_crash_in_the_service())
    line = describe(caught.value)
    assert line.startswith("exception=RuntimeError at=test_logs.py:")
    assert "frames=server/log_formats.py:" in line
    assert ":TextFormatter.format>server/log_formats.py:" in line
    assert SECRET not in line


async def _crash_in_the_service() -> None:
    class Hostile:
        @override
        def __str__(self) -> str:
            raise RuntimeError(SECRET)

    TextFormatter("%(message)s").format(a_record("%s", Hostile()))


def test_the_description_of_an_endless_recursion_is_short() -> None:
    record = a_record("%s", _Endless())
    with pytest.raises(RecursionError) as caught:
        TextFormatter("%(message)s").format(record)
    assert len(describe(caught.value)) < 2000


class _Endless:
    @override
    def __str__(self) -> str:
        return TextFormatter("%(message)s").format(a_record("%s", self))


def fill(descriptor: int) -> int:
    """Write to a pipe until it is full; return the number of bytes."""
    os.set_blocking(descriptor, False)
    written = 0
    with suppress(BlockingIOError):
        while True:
            written += os.write(descriptor, b"." * 4096)
    os.set_blocking(descriptor, True)
    return written


def test_logging_never_waits_and_dropped_lines_are_counted() -> None:
    with handler(lines=10) as (made, reader):
        ballast = fill(made._descriptor)
        for number in range(1000):
            made.handle(a_record("%d", number))
        while ballast:
            ballast -= len(os.read(reader, ballast))
        text = b""
        while b"later" not in text:
            while not made._lines.empty():
                text += os.read(reader, 1 << 16)
            made.handle(a_record("later"))
            text += os.read(reader, 1 << 16)
        lines = text.decode().splitlines()
        lost = [int(line.rpartition("lines=")[2]) for line in lines if "log.dropped" in line]
        written = [line for line in lines if line.startswith("ERROR ") and "later" not in line]
    assert len(written) + sum(lost) == 1000
    assert sum(lost) >= 1000 - 2 * 10 - 2


def test_a_line_waits_for_a_full_non_blocking_descriptor() -> None:
    with handler() as (made, reader):
        ballast = fill(made._descriptor)
        os.set_blocking(made._descriptor, False)
        made.handle(a_record("late"))
        while ballast:
            ballast -= len(os.read(reader, ballast))
        assert os.read(reader, 100) == b"ERROR late\n"


def test_lines_to_a_closed_pipe_are_counted() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    made = BackgroundHandler(writer)
    made.setFormatter(TextFormatter("%(message)s"))
    made.handle(a_record("lost"))
    made.close()
    assert made._unwritten == 1
    os.close(writer)


def test_each_write_has_whole_lines_and_is_atomic() -> None:
    """The kernel does not mix writes of up to 4096 bytes to a pipe, whichever process they come from."""
    lines = ["a" * 1000] * 9 + ["é" * 5000, "b", "c" * 4095, "d"]
    pieces = list(logs._pieces(lines))
    assert all(len(piece) <= LINE_BYTES and piece.endswith(b"\n") for piece in pieces)
    written = b"".join(pieces).decode().splitlines()
    assert written[:9] == lines[:9]
    assert written[9] == "é" * 2046 + "…"
    assert written[10:] == lines[10:]


def test_the_lines_of_a_worker_end_with_its_number() -> None:
    config = logs.log_config(ServerSettings(), 2)["formatters"]["line"]
    formatter = config.pop("()")(**config)
    assert formatter.format(a_record("a", exc=raised(ValueError()))).endswith(" worker=2")


def test_closing_does_not_wait_for_a_stuck_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FLUSH_SECONDS", 0.05)
    with handler() as (made, _):
        fill(made._descriptor)
        made.handle(a_record("x"))
        made.close()
        assert not made._has_ended.is_set()


def test_lines_that_follow_soon_share_a_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "GATHER_SECONDS", 60.0)  # ended by `close`
    with handler() as (made, reader):
        made.handle(a_record("first"))
        assert os.read(reader, 100) == b"ERROR first\n"  # at once
        for number in range(3):
            made.handle(a_record("%d", number))
        made.close()
        assert os.read(reader, 100) == b"ERROR 0\nERROR 1\nERROR 2\n"


def test_a_wrong_logging_call_is_a_line_without_its_values() -> None:
    with handler() as (made, reader):
        made.handle(a_record("%d", SECRET))
        line = os.read(reader, 1 << 16).decode()
    assert "log.crashed exception=TypeError" in line
    assert SECRET not in line


@pytest.mark.promise("secret:kept")
def test_crashes_of_threads_and_finalizers_are_one_line_each(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    logs.log_crashes()

    def crash() -> None:
        raise ValueError(SECRET)

    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()
    _Unfinished()
    assert [message.partition(" at=")[0] for message in caplog.messages] == [
        "thread.crashed exception=ValueError",
        "finalizer.crashed exception=KeyError",
    ]
    assert SECRET not in caplog.text


class _Unfinished:
    def __del__(self) -> None:
        raise KeyError(SECRET)


@pytest.mark.promise("secret:kept")
def test_a_crash_in_a_loop_callback_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def crash(value: str) -> None:
        raise ValueError(value)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(logs.log_loop_error)
        loop.call_soon(crash, SECRET)
        loop.call_exception_handler({"message": "Something is odd."})
        await asyncio.sleep(0)  # noqa: TID251

    asyncio.run(main())
    assert "loop.complained: Something is odd." in caplog.messages
    assert any(line.startswith("loop.crashed exception=ValueError") for line in caplog.messages)
    assert SECRET not in caplog.text
