"""What the server asks of the kernel."""

import gc
import socket
import sys

import anyio
import pytest
import uvicorn

from eventstream import wire
from streamsvc.app import create_app
from streamsvc.server import Protocol, Server
from streamsvc.settings import Settings


async def no_drain() -> None:
    """Nothing runs."""


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT is Linux's")
async def test_a_client_that_falls_off_the_network_counts_as_gone_after_a_time() -> None:
    """What is sent to it, keepalives too, goes unacknowledged: the kernel closes the connection."""
    config = uvicorn.Config(
        create_app(Settings(), {}), port=0, http=Protocol, ws="none", log_config=None
    )
    config.load()
    server = Server(config, no_drain, silence_seconds=12.5)
    server.lifespan = config.lifespan_class(config)
    try:
        await server.startup()
        port = server.servers[0].sockets[0].getsockname()[1]
        async with wire(port) as connection:
            with anyio.fail_after(5):
                await (await connection.ask("GET", "/healthz")).body()
            (protocol,) = server.server_state.connections
            accepted = protocol.transport.get_extra_info("socket")
            option = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert option == 12_500
        await server.shutdown()
    finally:
        gc.unfreeze()
