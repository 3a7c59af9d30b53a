"""The server's connection: lost clients, pipelined requests, long heads, disconnects."""

import gc
import json
import socket
import sys
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest
import uvicorn

from conftest import Serve
from streamsvc.app import create_app
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import Settings, StreamSettings
from streamsvc.server import refusal
from streamsvc.server.connection import Protocol
from streamsvc.server.lifecycle import Options, Server
from support.eventstream import wire
from support.rawhttp import exchange
from support.service import Service


async def no_drain() -> None:
    """A server whose drain ends at once."""


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT is Linux's")
async def test_client_that_drops_off_the_network_is_disconnected() -> None:
    """Data and keepalives stay unacknowledged, and the kernel closes the connection."""
    config = uvicorn.Config(
        create_app(Settings(), {}), port=0, http=Protocol, ws="none", log_config=None
    )
    config.load()
    server = Server(config, no_drain, Options(silence_seconds=12.5))
    server.lifespan = config.lifespan_class(config)
    try:
        await server.startup()
        port = server.servers[0].sockets[0].getsockname()[1]
        async with wire(port) as connection:
            with anyio.fail_after(10):
                await (await connection.ask("GET", "/healthz")).body()
            (protocol,) = server.server_state.connections
            accepted = protocol.transport.get_extra_info("socket")
            option = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert option == 12_500
        await server.shutdown()
    finally:
        gc.unfreeze()


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
SILENT = Settings(
    providers={"fake": FakeSettings(first_word_seconds=3600)},
    stream=StreamSettings(ping_seconds=3600),
)


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_disconnect_with_a_request_waiting_is_seen_at_once(serve: Serve, leave: str) -> None:
    """Uvicorn pauses reading at the second request, and would miss both its end and the disconnect."""
    service = await serve(SILENT)
    with anyio.fail_after(10):
        async with wire(service.port) as connection:
            stream = await connection.ask("GET", "/stream-ai?prompt=hi")
            assert (await stream.event()).type == "start"
            await connection.send(HEALTH)
            getattr(connection, leave)()
            while service.supervisor.running:
                await anyio.lowlevel.checkpoint()


async def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    service = await serve(SILENT)
    with anyio.fail_after(10):
        async with wire(service.port) as connection:
            stream = await connection.ask("GET", "/stream-ai?prompt=hi")
            for _ in range(3):
                await connection.send(HEALTH)
            generation = stream.headers["x-generation-id"]
            await service.client.post(f"/v1/generations/{generation}/stop")
            assert [event.type for event in await stream.events()] == ["start", "done"]
            for _ in range(3):
                answer = await connection.answer("GET")
                assert (answer.status, bool(await answer.body())) == (200, True)


@pytest.mark.promise("input:clear-error")
async def test_pipelined_requests_beyond_the_limit_are_refused(serve: Serve) -> None:
    """After the answers to those before them; what runs goes on."""
    service = await serve(SILENT)
    with anyio.fail_after(10):
        async with wire(service.port) as connection:
            stream = await connection.ask("GET", "/stream-ai?prompt=hi")
            assert (await stream.event()).type == "start"
            await connection.send(HEALTH * (refusal.MAX_WAITING + 5))
            generation = stream.headers["x-generation-id"]
            await service.client.post(f"/v1/generations/{generation}/stop")
            assert [event.type for event in await stream.events()] == ["done"]
            for _ in range(refusal.MAX_WAITING):
                answer = await connection.answer("GET")
                assert (answer.status, bool(await answer.body())) == (200, True)
            answer = await connection.answer("GET")
            assert answer.status == 429
            assert b"too_many_requests" in await answer.body()


@pytest.mark.promise("fan-out:shared")
@pytest.mark.parametrize(
    "endless",
    [
        HEALTH,
        b"POST /v1/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n",
    ],
    ids=["requests", "a body"],
)
async def test_pipelined_data_is_read_within_a_bound(serve: Serve, endless: bytes) -> None:
    service = await serve(SILENT)
    with anyio.fail_after(10):
        async with wire(service.port) as connection:
            before = set(service.server.server_state.connections)
            stream = await connection.ask("GET", "/stream-ai?prompt=hi")
            assert (await stream.event()).type == "start"
            (protocol,) = set(service.server.server_state.connections) - before
            assert isinstance(protocol, Protocol)
            while not protocol.flow.read_paused:
                await connection.send(endless)
                await anyio.lowlevel.checkpoint()
            waiting = [cycle for cycle, _ in protocol.pipeline]
            assert len(waiting) < 1000
            assert sum(len(cycle.body) for cycle in waiting) < 1_000_000
            assert service.supervisor.running == 1


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    "piece", [b"X-A: " + b"a" * 4000 + b"\r\n", b"a" * 4000], ids=["many", "one"]
)
async def test_endless_head_is_refused_and_not_buffered(serve: Serve, piece: bytes) -> None:
    service = await serve(SILENT)
    with anyio.fail_after(10):
        async with wire(service.port) as connection:
            await connection.send(b"GET /healthz HTTP/1.1\r\nX-B: b")
            sent_bytes = 0
            with suppress(ConnectionError):
                while sent_bytes < 10_000_000:
                    await connection.send(piece)
                    sent_bytes += len(piece)
                    await anyio.lowlevel.checkpoint()
            assert sent_bytes < 10_000_000
        async with wire(service.port) as connection:
            stream = await connection.ask("GET", "/stream-ai?prompt=hi")
            assert (await stream.event()).type == "start"
            await connection.send(b"GET /healthz HTTP/1.1\r\nX-B: b")
            with suppress(ConnectionError):
                while True:
                    await connection.send(piece)
                    await anyio.lowlevel.checkpoint()
            while service.supervisor.running:
                await anyio.lowlevel.checkpoint()


async def test_long_head_is_read(serve: Serve) -> None:
    service = await serve(SILENT)
    with anyio.fail_after(10):
        async with wire(service.port) as connection:
            answer = await connection.ask("GET", "/healthz", {"X-A": "a" * 100_000})
            assert (answer.status, bool(await answer.body())) == (200, True)


def streaming(service: Service) -> Protocol:
    """Return the connection of the only stream."""
    ours = (it for it in service.server.server_state.connections if isinstance(it, Protocol))
    [protocol] = [one for one in ours if one.listener is not None]
    return protocol


def has_parser(protocol: Protocol) -> bool:
    return vars(protocol)["parser"] is not None


async def test_request_and_parser_are_freed_while_a_stream_is_held(
    serve: Serve,
) -> None:
    """Headers such as cookies take kilobytes, and a stream may last for minutes. What follows is read by a new parser."""
    service = await serve(SILENT)
    with anyio.fail_after(10):
        async with wire(service.port) as connection:
            headers = {"Cookie": "c" * 4000, "Accept": "text/event-stream"}
            answer = await connection.ask("GET", "/stream-ai?prompt=Hi", headers)
            await answer.event()
            protocol = streaming(service)
            assert protocol.headers == []
            assert not {"headers", "query_string", "extensions"} & protocol.scope.keys()
            assert not has_parser(protocol)
            await connection.send(HEALTH[:9])
            while not has_parser(protocol):
                await anyio.lowlevel.checkpoint()
            await connection.send(HEALTH[9:])
            await service.client.post(f"/v1/generations/{answer.headers['x-generation-id']}/stop")
            assert [event.type for event in await answer.events()] == ["done"]
            assert (await connection.answer("GET")).status == 200


@pytest.mark.promise("cancel:disconnect")
async def test_stream_may_begin_on_a_connection_that_was_just_lost(serve: Serve) -> None:
    service = await serve(SILENT)
    with anyio.fail_after(10):
        async with wire(service.port) as connection:
            answer = await connection.ask("GET", "/stream-ai?prompt=Hi")
            await answer.event()
            protocol = streaming(service)
            listener = protocol.listener
        while protocol in service.server.server_state.connections:
            await anyio.lowlevel.checkpoint()
    protocol.listener = listener
    assert protocol.is_lost


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/generations", {"prompt": "Hi"}),
        ("/v1/chat/completions", {"model": "fake", "stream": True}),
        ("/v1/chat/completions", {"model": "fake", "stream": False}),
    ],
    ids=["native", "chat", "chat in one piece"],
)
async def test_disconnect_after_a_large_body_is_seen_at_once(
    serve: Serve, path: str, body: dict[str, object]
) -> None:
    """Uvicorn pauses reading after 64 KiB of a body, and would miss the disconnect."""
    service = await serve(SILENT)
    padding = "x" * 90_000
    if "chat" in path:
        body["messages"] = [{"role": "user", "content": padding}]
    else:
        body["prompt"] = padding
    data = json.dumps(body).encode()
    with anyio.fail_after(10):
        async with await anyio.connect_tcp("127.0.0.1", service.port) as client:
            await client.send(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
                "Content-Type: application/json\r\nExpect: 100-continue\r\n"
                f"Content-Length: {len(data)}\r\n\r\n".encode()
            )
            assert b" 100 " in await client.receive()  # so the body arrives in a separate read
            await client.send(data)
            while not service.supervisor.viewers:
                await anyio.lowlevel.checkpoint()
        while service.supervisor.running:
            await anyio.lowlevel.checkpoint()


@pytest.mark.promise("secret:kept")
async def test_exception_in_a_parser_callback_is_a_500(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "xyzzy-plugh"

    def crash(_protocol: Protocol, _url: bytes) -> None:
        raise RuntimeError(secret)

    service = await serve(SILENT)
    monkeypatch.setattr(Protocol, "on_url", crash)
    seen = await exchange(service.port, [HEALTH])
    assert [answer.status for answer in seen.answers] == [500]
    assert secret not in caplog.text
    assert "connection.crashed exception=RuntimeError at=test_server.py:" in caplog.text
