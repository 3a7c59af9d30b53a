"""HTTP/1 in bare bytes: sends them as they are, and reads responses until the connection ends."""

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import anyio


@dataclass(frozen=True)
class RawAnswer:
    """One response, delimited as in RFC 9112, section 6.3.

    Attributes:
        status: of its status line.
        fields: its header fields, names in lower case.
        body: without chunk framing.
        is_until_closed: whether only the end of the connection ends it.
    """

    status: int
    fields: dict[str, str]
    body: bytes
    is_until_closed: bool


@dataclass(frozen=True)
class Exchange:
    """What came back.

    Attributes:
        answers: the complete responses, without interim ones.
        was_reset: whether the connection ended with a reset instead of a FIN.
    """

    answers: list[RawAnswer]
    was_reset: bool


async def exchange(port: int, pieces: Iterable[bytes], *, seconds: float = 10) -> Exchange:
    """Send each piece in a separate write, and read until the server closes the connection."""
    loop = asyncio.get_running_loop()
    with anyio.fail_after(seconds), socket.socket() as client:
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(client, ("127.0.0.1", port))
        with suppress(ConnectionError):  # refused while sending; the response may already be there
            for piece in pieces:
                await loop.sock_sendall(client, piece)
        return await read_all(client)


async def read_all(client: socket.socket) -> Exchange:
    """Read to the end of a connection."""
    raw = b""
    was_reset = False
    try:
        while data := await asyncio.get_running_loop().sock_recv(client, 1 << 16):
            raw += data
    except ConnectionResetError:
        was_reset = True
    return Exchange(parse(raw), was_reset)


def parse(raw: bytes) -> list[RawAnswer]:
    """Return the complete final responses in the bytes of an ended connection."""
    answers = []
    while raw:
        head, found, rest = raw.partition(b"\r\n\r\n")
        assert found, raw[:200]
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, status, *_ = status_line.split(" ")
        assert version == "HTTP/1.1", raw[:200]
        if status.startswith("1"):  # interim (RFC 9110, section 15.2)
            raw = rest
            continue
        pairs = [line.split(": ", 1) for line in lines]
        fields = {name.lower(): value for name, value in pairs}
        assert len(fields) == len(pairs), lines
        is_until_closed = False
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(rest.partition(b"\r\n")[0], 16):
                start = rest.index(b"\r\n") + 2
                body, rest = body + rest[start : start + size], rest[start + size + 2 :]
            raw = rest.removeprefix(b"0\r\n\r\n")
        elif "content-length" in fields:
            size = int(fields["content-length"])
            body, raw = rest[:size], rest[size:]
        elif status == "204":
            body, raw = b"", rest
        else:
            body, raw, is_until_closed = rest, b"", True
        answers.append(RawAnswer(int(status), fields, body, is_until_closed))
    return answers
