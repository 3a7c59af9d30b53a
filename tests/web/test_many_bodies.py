"""Large bodies that arrive at the same time, sent to `python -m streamsvc serve`: memory has a limit."""

import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack

import anyio
import pytest

from support.asking import CLIENTS, answered
from support.process import FAKE, Running
from support.rawhttp import read_all
from support.shared import quiet_service, shared_process

BODY_BYTES = 100_000
TOTAL_BYTES = 250_000
SENDERS = 12

process = shared_process(
    {
        "providers.fake": FAKE,
        "limits": {"max_body_bytes": BODY_BYTES, "max_total_body_bytes": TOTAL_BYTES},
    }
)
service = quiet_service(
    "request.refused status=503 code=overloaded .* limit=limits.max_total_body_bytes"
)

HEAD = (
    "POST /v1/generations HTTP/1.1\r\nHost: localhost\r\n"
    f"Content-Length: {BODY_BYTES}\r\nConnection: close\r\n\r\n"
)


@pytest.fixture
async def senders(service: Running) -> AsyncIterator[list[socket.socket]]:
    """Connections that send nearly all of a body, and then nothing."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(SENDERS)]
        for client in clients:
            client.connect(("127.0.0.1", service.port))
            client.setblocking(False)
        yield clients


async def _send(client: socket.socket) -> None:
    left = HEAD.encode() + b" " * (BODY_BYTES - 1)
    while left:
        await anyio.wait_writable(client)
        left = left[client.send(left) :]


@pytest.mark.promise("input:clear-error")
async def test_largest_bodies_are_refused_and_small_requests_answered(
    service: Running, senders: list[socket.socket]
) -> None:
    refused: list[socket.socket] = []
    enough = anyio.Event()

    async def read(client: socket.socket) -> None:
        (answer,) = (await read_all(client)).answers
        assert (answer.status, answer.fields["retry-after"]) == (503, "2")
        assert b"limits.max_total_body_bytes" in answer.body
        refused.append(client)
        if len(refused) >= SENDERS - TOTAL_BYTES // BODY_BYTES:
            enough.set()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for client in senders:
                await _send(client)
                tasks.start_soon(read, client)
            await enough.wait()
            for _ in range(3):
                answer = await answered(service.port, CLIENTS["native"].request())
                assert answer.status in {200, 201}
            tasks.cancel_scope.cancel()


@pytest.mark.promise("input:clear-error")
async def test_memory_of_ended_bodies_is_free_again(service: Running) -> None:
    """Sums would grow over the limit otherwise."""
    body = b'{"prompt": "hi"}'.ljust(BODY_BYTES)
    for _ in range(2 * TOTAL_BYTES // BODY_BYTES):
        answer = await answered(service.port, CLIENTS["native"].request(), raw=body)
        assert answer.status in {200, 201}
