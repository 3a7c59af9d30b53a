"""Hostile clients in a separate process: `python attacks.py PORT KIND` runs until it is killed.

Each kind holds a number of connections to the loopback, and replaces those that are closed. What they send is paced,
so that sending costs the machine little: the tests measure the service. Every sleep here is such a pace.
"""

import asyncio
import random
import socket
import struct
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

HOST = b"Host: localhost\r\n"
POST = b"POST /v1/generations HTTP/1.1\r\n" + HOST
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
BODY = b'{"prompt": "hi"}'
RESET = struct.pack("ii", 1, 0)

Attack = Callable[[StreamReader, StreamWriter], Awaitable[None]]


async def silence(_reader: StreamReader, _writer: StreamWriter) -> None:
    await asyncio.sleep(3600)  # noqa: TID251


def slowly(begin: bytes, piece: bytes, seconds: float) -> Attack:
    """Return an attack that sends a beginning, and then one piece after each pause."""

    async def attack(_reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(begin)
        while True:
            await asyncio.sleep(seconds)  # noqa: TID251
            writer.write(piece)
            await writer.drain()

    return attack


def again_and_again(sent: bytes) -> Attack:
    """Return an attack that sends the same request after each response."""

    async def attack(reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            writer.write(sent)
            if not await reader.read(1 << 16):
                return
            await asyncio.sleep(0.1)  # noqa: TID251

    return attack


async def unread(_reader: StreamReader, writer: StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a method of transports that read
    for _ in range(20):
        writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    await asyncio.sleep(3600)  # noqa: TID251


async def reset(_reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(b"GET /stream-ai?prompt=hi HTTP/1.1\r\n" + HOST + b"\r\n")
    await asyncio.sleep(random.uniform(0, 0.05))  # noqa: S311, TID251  # at a random moment of the answer
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


ATTACKS: Mapping[str, tuple[int, Attack]] = {
    "silence": (600, silence),
    "half-heads": (600, slowly(b"GET /stream-ai?prompt=hi HTTP/1.1\r\nX-A: ", b"a", 1)),
    "half-bodies": (600, slowly(POST + b"Content-Length: 1000\r\n\r\n{", b"a", 1)),
    "endless-heads": (10, slowly(b"GET / HTTP/1.1\r\n", b"X-A: b\r\n" * 4000, 0.02)),
    "endless-trailers": (10, slowly(POST + CHUNKS + b"0\r\n", b"X-A: b\r\n" * 4000, 0.02)),
    "one-endless-trailer": (10, slowly(POST + CHUNKS + b"0\r\nX-A: ", b"b" * 32_000, 0.02)),
    "endless-extensions": (10, slowly(POST + CHUNKS + b"1;", b"a" * 32_000, 0.02)),
    "empty-lines": (10, slowly(b"", b"\r\n" * 16_000, 0.02)),
    "large-bodies": (10, slowly(POST + CHUNKS, b"7d00\r\n" + b"a" * 32_000 + b"\r\n", 0.02)),
    "offers": (
        10, again_and_again(POST + OFFER + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
    ),
    "garbage": (10, again_and_again(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")),
    "unread": (30, unread),
    "resets": (10, reset),
}  # fmt: skip
"""By name: the number of connections, and what each of them does."""


async def hold(port: int, attack: Attack) -> None:
    """Attack over one connection after another."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await attack(reader, writer)
            finally:
                writer.close()
        await asyncio.sleep(0.05)  # noqa: TID251


async def main(port: int, kind: str) -> None:
    count, attack = ATTACKS[kind]
    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(hold(port, attack))
        print("begun", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
