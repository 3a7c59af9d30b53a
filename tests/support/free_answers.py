"""A server that answers requests which cost nothing, such as lists of models: by method and path."""

import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate

from support.http_peer import listening

Answer = tuple[int, str]
"""A status and a body."""

NOT_FOUND: Answer = 404, '{"detail": "Not Found"}'


@dataclass
class FreeAnswers:
    """The server.

    Attributes:
        answers: by method and path, such as `GET /v1/models`; else `NOT_FOUND`.
        url: its address, without a path.
        requests: the lines and header fields of the requests that it got.
        ahead: how far its clock is ahead, in seconds.
        hangs_up: whether it closes each connection after a request.
    """

    answers: Mapping[str, Answer]
    ahead: float = 0
    hangs_up: bool = False
    url: str = ""
    requests: list[str] = field(default_factory=list)

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(EOFError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
                await reader.readexactly(int(length or "0"))
                self.requests.append(head)
                if self.hangs_up:
                    return
                status, body = self.answers.get(head.partition(" HTTP/")[0], NOT_FOUND)
                writer.write(
                    f"HTTP/1.1 {status} Whatever\r\nDate: {formatdate(time.time() + self.ahead, usegmt=True)}\r\n"
                    f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}".encode()
                )
                await writer.drain()


@asynccontextmanager
async def free_answers(
    answers: Mapping[str, Answer], *, ahead: float = 0
) -> AsyncIterator[FreeAnswers]:
    """Serve them on a free loopback port until the context is left."""
    server = FreeAnswers(answers, ahead)
    async with listening(server.serve) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server
