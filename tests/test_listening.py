"""New connections: accepted within a few turns of the loop, and never more than the limit allows."""

import asyncio
import logging
import os
import re
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Self

import anyio
import httpx2
import pytest
import uvloop
from starlette.types import Message
from typing_extensions import override

from conftest import Serve
from streamsvc.app import create_app
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import Settings
from streamsvc.errors import ConfigError
from streamsvc.server import descriptors
from streamsvc.server.addresses import ANY, Lease
from streamsvc.server.listening import Listening, bind, miss_lost_clients
from streamsvc.server.pending import PendingConnection, PendingConnections, Room
from support.eventstream import wire
from support.process import serve as serve_process
from support.service import CLIENT_SECONDS

QUICK = {"PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0", "PROVIDERS__FAKE__WORDS_PER_SECOND": "0"}
SILENT = Settings(providers={"fake": FakeSettings(first_word_seconds=3600)})


@contextmanager
def clients(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Open connections that send nothing."""
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(count)]
        for client in opened:
            client.connect(("127.0.0.1", port))
        yield opened


def test_all_waiting_connections_are_accepted_within_four_turns() -> None:
    """Uvloop's own server accepts one connection per turn."""
    turns = 4

    async def accepted_within_the_turns() -> int:
        made: list[asyncio.Protocol] = []

        def protocol(_lease: Lease | None) -> asyncio.Protocol:
            made.append(asyncio.Protocol())
            return made[-1]

        room = Room((), 1000, PendingConnections(10, asyncio.get_running_loop().time))
        listening = Listening(bind("127.0.0.1", 0), protocol, room, ANY)
        with clients(listening.sockets[0].getsockname()[1], 80):
            for _ in range(turns):
                await asyncio.sleep(0)  # noqa: TID251  # exactly one turn
            listening.close()
            await listening.wait_closed()
            return len(made)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(accepted_within_the_turns()) == 80


def test_a_host_with_several_addresses_has_one_port() -> None:
    sockets = bind("localhost", 0)
    try:
        assert len({listener.getsockname()[1] for listener in sockets}) == 1
    finally:
        for listener in sockets:
            listener.close()


def test_a_port_in_use_names_the_setting() -> None:
    [listener] = bind("127.0.0.1", 0)
    with listener, pytest.raises(ConfigError, match=r"^server\.port: .* in use by another process"):
        bind("127.0.0.1", listener.getsockname()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="these socket options exist only on Linux")
def test_lost_clients_are_found_by_probes_and_by_a_timeout() -> None:
    [listener] = bind("127.0.0.1", 0)
    with listener:
        miss_lost_clients(listener, 30)
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        options = [listener.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
        assert options == [15, 5, 3, 30_000]
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for seconds in (0.01, 1e9):  # extreme settings are accepted, too
            miss_lost_clients(listener, seconds)


def test_an_unavailable_address_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For example `::1` for localhost in a container without IPv6."""
    stream = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    found = [(*stream, ("192.0.2.1", 0)), (*stream, ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    [listener] = bind("a", 0)
    with listener:
        assert listener.getsockname()[0] == "127.0.0.1"


class Connection(PendingConnection):
    def __init__(self) -> None:
        self.ended = ""

    @override
    def on_request_late(self) -> None:
        self.ended = "late"

    @override
    def abort(self) -> None:
        self.ended = "dropped"


def test_the_oldest_pending_connection_is_the_first_to_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    pending = PendingConnections(10, lambda: now)
    first, second, third = Connection(), Connection(), Connection()
    for now, connection in enumerate((first, second, third)):  # noqa: B007  # the clock reads it
        pending.begin(connection)
    pending.begin(first)  # its next request begins
    now = 11.0
    pending.sweep()
    assert [first.ended, second.ended, third.ended] == ["", "late", ""]
    assert pending.drop_oldest()
    assert [first.ended, third.ended] == ["", "dropped"]
    pending.end(first)
    assert not pending.drop_oldest()
    pending.report()
    assert caplog.messages == ["connections.refused dropped_for_another=1"]


@pytest.mark.parametrize(
    ("limit", "upstream", "room"),
    [(20_000, 1000, 18_936), (1024, 1000, 480), (64, 1000, 24), (1, 1, 1), (1 << 20, 1000, 1_047_512)],
)  # fmt: skip
def test_descriptors_are_reserved_for_calls_to_providers(
    limit: int, upstream: int, room: int
) -> None:
    assert descriptors.room_for_connections(limit, upstream) == room


@pytest.mark.skipif(sys.platform == "win32", reason="the limit exists only on POSIX")
async def test_the_soft_limit_is_raised_to_the_hard_one(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 600:
        pytest.skip("the hard limit of descriptors is too low on this machine")
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, hard))
    try:
        async with serve_process(tmp_path, QUICK) as service:
            found = await service.logged(r"descriptors.raised from=500 to=(\d+)")
            limits = Path(f"/proc/{service.process.pid}/limits").read_text()  # noqa: ASYNC240
            assert re.search(rf"Max open files +{found[1]} ", limits)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.promise("input:clear-error")
async def test_at_the_limit_an_idle_connection_is_closed_not_a_stream(
    tmp_path: Path,
) -> None:
    settings = {"LIMITS__MAX_CONNECTIONS": "5", "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "3600"}
    async with serve_process(tmp_path, settings) as service:
        with anyio.fail_after(20):
            async with wire(service.port) as connection:
                stream = await connection.ask("GET", "/stream-ai?prompt=hi")
                assert (await stream.event()).type == "start"
                with clients(service.port, 20):
                    for _ in range(3):
                        async with wire(service.port) as newcomer:
                            assert (await newcomer.ask("GET", "/healthz")).status == 200
                stop = f"/v1/generations/{stream.headers['x-generation-id']}/stop"
                await service.client.post(stop)
                assert (await stream.event()).type == "done"
            await service.logged("connections.refused dropped_for_another=")
            assert await service.terminate() == 0
    service.assert_quiet()


@pytest.mark.promise("input:clear-error")
async def test_at_the_limit_with_streams_only_a_new_one_is_closed(tmp_path: Path) -> None:
    settings = {"LIMITS__MAX_CONNECTIONS": "3", "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "3600"}
    async with serve_process(tmp_path, settings) as service:
        with anyio.fail_after(20):
            async with AsyncStreams(service.port) as streams:
                for _ in range(3):
                    await streams.open()
                with pytest.raises((EOFError, ConnectionError)):
                    await streams.open()
            await service.logged("connections.refused no_room=1")
            async with wire(service.port) as newcomer:  # the streams are closed
                assert (await newcomer.ask("GET", "/healthz")).status == 200
            assert await service.terminate() == 0
    service.assert_quiet()


class AsyncStreams:
    """Opens streams, and holds them until the context is left."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def open(self) -> None:
        connection = await self._stack.enter_async_context(wire(self._port))
        await (await connection.ask("GET", "/stream-ai?prompt=hi")).event()


@pytest.mark.promise("input:clear-error")
@pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2) exists only on Linux")
async def test_without_descriptors_it_refuses_calmly_and_recovers(tmp_path: Path) -> None:
    """It runs no busy loop and floods no log, and answers again once descriptors are free."""
    async with serve_process(tmp_path, {**QUICK, "SERVER__LOG_LEVEL": "debug"}) as service:
        pid = service.process.pid
        with anyio.fail_after(30):
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            used = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 3, before[1]))
            lines = service.output.count("\n")
            with clients(service.port, 40):
                cpu = cpu_ticks(pid)
                await anyio.sleep(1)  # the window in which its CPU time is measured, not a wait
                assert cpu_ticks(pid) - cpu < 50  # hundredths of a second
                async with wire(service.port) as newcomer:
                    assert (await newcomer.ask("GET", "/healthz")).status == 200
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            async with httpx2.AsyncClient(timeout=CLIENT_SECONDS) as client:
                url = f"http://127.0.0.1:{service.port}/stream-ai?prompt=hi"
                assert '"status":"completed"' in (await client.get(url)).text
        assert service.output.count("\n") - lines < 20
        assert await service.terminate() == 0
    service.assert_quiet()


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.promise("input:clear-error")
async def test_an_app_without_lifespan_events_refuses_with_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = create_app(SILENT, {})
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"prompt": "hi"}', "more_body": False}

    for method, path in (("GET", "/stream-ai"), ("POST", "/v1/generations"), ("GET", "/readyz")):
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
            "query_string": b"prompt=hi", "headers": [(b"host", b"localhost")],
        }  # fmt: skip
        sent.clear()
        await app(scope, receive, send)
        assert sent[0]["status"] == 503
        assert b"does not send the ASGI lifespan events" in sent[1]["body"]
    said = [line.partition(" ")[0] for line in caplog.messages]
    assert said.count("lifespan.missing:") == 1
    assert "crashed" not in caplog.text


async def test_an_app_with_lifespan_events_is_ready(serve: Serve) -> None:
    service = await serve(SILENT)
    assert (await service.client.get("/readyz")).status_code == 200
