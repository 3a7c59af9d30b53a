"""A client whose machine drops off the network, without FIN or reset, while nothing is written to it.

The client runs in a network namespace whose link the test takes down. That needs Linux and the right to do so.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import pytest

from support.network import namespace
from support.owned import own_tasks
from support.process import Running, environment

CHAT = '{"model": "fake", "messages": [{"role": "user", "content": "hi"}]}'

REQUESTS = {
    "a chat in one piece": f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(CHAT)}\r\n"
    f"Host: 127.0.0.1\r\n\r\n{CHAT}",
    "plain text": "GET /stream-ai?prompt=hi&format=plain HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "events": "GET /stream-ai?prompt=hi HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
}

ASK_AND_WAIT = """
import socket, sys, time
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.sendall(sys.argv[3].encode())
time.sleep(3600)
"""


@asynccontextmanager
async def serve_on(address: str, directory: Path) -> AsyncIterator[Running]:
    """Run the service where the namespace can reach it; its model stays silent."""
    settings = {
        "SERVER__HOST": address,
        "AUTH__ALLOW_ANONYMOUS": "true",
        "STREAM__SEND_TIMEOUT_SECONDS": "3",
        "STREAM__PING_SECONDS": "3600",
        "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "3600",
    }
    async with (
        own_tasks() as tasks,
        await anyio.open_process(
            [sys.executable, "-m", "streamsvc", "serve"],
            env=environment(settings, {}),
            cwd=directory,
        ) as process,
    ):
        running = Running(process)
        tasks.start_soon(running.read_output)
        try:
            with anyio.fail_after(30):
                found = await running.logged(rf"running on http://{address}:(\d+)")
            running.port = int(found[1])
            yield running
        finally:
            with anyio.move_on_after(
                10, shield=True
            ):  # the task that reads its output may be cancelled
                if process.returncode is None:
                    process.kill()
                await running.end()
            print(running.output)


@pytest.mark.quiet
@pytest.mark.needs("ip")
@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize("name", REQUESTS)
async def test_a_client_that_vanishes_in_a_silent_stream_is_noticed(
    tmp_path: Path, name: str
) -> None:
    with namespace() as machine:
        address = machine.front.here
        async with serve_on(address, tmp_path) as service:
            command = [*machine.enter, sys.executable, "-c", ASK_AND_WAIT]
            arguments = [address, str(service.port), REQUESTS[name]]
            async with await anyio.open_process([*command, *arguments]) as client:
                try:
                    with anyio.fail_after(30):
                        await until_connected(service.port)
                        machine.unplug()
                        await service.logged("generation.finished .* outcome=no_viewers")
                finally:
                    client.kill()


async def until_connected(port: int) -> None:
    """Wait until the request has arrived, and its bytes are acknowledged and read.

    The kernel reports no such event, so its table is read until it says so.
    """
    command = ["ss", "-tnH", "state", "established", f"( sport = :{port} )"]
    while True:
        done = await anyio.run_process(command)
        rows = [line.split() for line in done.stdout.decode().splitlines()]
        if rows and all(row[:2] == ["0", "0"] for row in rows):
            return
