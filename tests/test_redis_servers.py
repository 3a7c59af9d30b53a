"""The Redis servers of the tests, the proxy in front of them, and a machine that is cut off from one."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from support.network import namespace
from support.redis_proxy import redis_proxy
from support.redis_servers import RedisServer, running_redis

VERSIONS = {"valkey": "9.1.", "redis-6.2": "6.2.", "redis-server": ""}

PING_AND_WAIT = """
import socket, sys
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
for patience in sys.stdin:
    client.settimeout(float(patience))
    client.sendall(b"PING\\r\\n")
    try:
        print(client.recv(7), end="", flush=True)
    except TimeoutError:
        print("silence", end="", flush=True)
"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """Yield a client that gives up after 20 seconds, and never tries twice."""
    retry = Retry(NoBackoff(), 0)
    async with redis.asyncio.from_url(url, socket_timeout=20, retry=retry) as client:
        yield client


def write(server: RedisServer, megabytes: int) -> None:
    """Set keys with this many bytes."""
    for number in range(megabytes * 10):
        server.command("SET", number, b"x" * 100_000)


def test_each_server_answers_and_counts(
    redis_server: RedisServer, key_prefix: str, request: pytest.FixtureRequest
) -> None:
    key = f"{key_prefix}:words"
    before = redis_server.commandstats().get("xadd", 0)
    redis_server.command("XADD", key, "1-0", "text", b"\xff")
    assert redis_server.command("XRANGE", key, "-", "+") == [(b"1-0", {b"text": b"\xff"})]
    assert redis_server.commandstats()["xadd"] == before + 1
    assert redis_server.used_bytes() > 0
    about = redis_server.info("server")
    version = str(about.get("valkey_version") or about["redis_version"])
    assert version.startswith(VERSIONS[request.node.callspec.params["redis_server"]])


@pytest.mark.needs("valkey")
def test_a_server_dies_and_returns_at_its_address() -> None:
    with running_redis() as server:
        server.command("SET", "a", "b")
        server.kill()
        with pytest.raises(redis.ConnectionError):
            server.command("PING")
        server.restart()
        assert server.command("GET", "a") is None


@pytest.mark.needs("valkey")
def test_an_append_only_server_keeps_its_data_on_a_restart() -> None:
    with running_redis(append_only="always") as server:
        server.command("SET", "a", "b")
        server.restart()
        assert server.command("GET", "a") == b"b"
        server.flush()
        assert server.command("GET", "a") is None


@pytest.mark.needs("valkey")
async def test_a_stopped_server_keeps_its_connections_in_silence() -> None:
    with running_redis() as server:
        async with connected(server.url) as client:
            await client.ping()
            server.stop()
            with anyio.move_on_after(0.05) as silence:
                await client.ping()
            assert silence.cancelled_caught
            server.cont()
            await client.ping()


@pytest.mark.needs("valkey")
async def test_a_server_with_a_password_on_a_unix_socket_has_a_url() -> None:
    with running_redis(unix=True, password="word") as server:
        async with connected(server.url) as client:
            assert await client.ping()
        async with connected(server.url.replace("word", "other")) as client:
            with pytest.raises(redis.ConnectionError, match="invalid username-password"):
                await client.ping()


@pytest.mark.needs("valkey")
def test_a_server_with_bounded_memory_refuses_more() -> None:
    with (
        running_redis(maxmemory="2mb") as server,
        pytest.raises(redis.exceptions.OutOfMemoryError),
    ):
        write(server, megabytes=4)


@pytest.mark.needs("valkey")
def test_a_cluster_of_one_node_takes_keys_of_one_slot_only() -> None:
    with running_redis(cluster=True) as server:
        server.command("MSET", "{1}a", "x", "{1}b", "x")
        with pytest.raises(redis.ResponseError, match="slot"):
            server.command("MSET", "{1}a", "x", "{2}b", "x")


@pytest.mark.needs("valkey")
async def test_the_proxy_delays_requests(valkey: RedisServer) -> None:
    async with redis_proxy(valkey) as proxy, connected(proxy.url) as client:
        await client.ping()
        proxy.delay_seconds = 0.05
        start = anyio.current_time()
        await client.ping()
        assert anyio.current_time() - start >= 0.05


@pytest.mark.needs("valkey")
async def test_the_proxy_pauses_in_silence_and_loses_nothing(valkey: RedisServer) -> None:
    async with redis_proxy(valkey) as proxy, connected(proxy.url) as client:
        await client.ping()
        proxy.pause()
        for _ in range(2):  # the second one by a new connection
            with anyio.move_on_after(0.05) as silence:
                await client.ping()
            assert silence.cancelled_caught
        proxy.resume()
        assert await client.ping()
        assert proxy.accepted >= 2


@pytest.mark.needs("valkey")
async def test_the_proxy_cuts_refuses_and_accepts_again(valkey: RedisServer) -> None:
    async with redis_proxy(valkey) as proxy, connected(proxy.url) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(expect_lost, client)
            while not valkey.info("clients")["blocked_clients"]:
                await anyio.lowlevel.checkpoint()
            await proxy.cut()
        assert await client.ping()
        await proxy.refuse()
        async with connected(proxy.url) as later:
            with pytest.raises(redis.ConnectionError, match="Error 111"):
                await later.ping()
            await proxy.accept()
            assert await later.ping()


@pytest.mark.needs("valkey")
async def test_the_proxy_refuses_connections_that_have_just_arrived(valkey: RedisServer) -> None:
    """None of them stays open without an answer, however far it has come."""

    async def expect_end(port: int) -> None:
        with suppress(OSError, anyio.EndOfStream, anyio.BrokenResourceError):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.receive()

    async with redis_proxy(valkey) as proxy:
        for number in range(100):
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(expect_end, proxy.port)
                    for _ in range(number % 10):
                        await anyio.lowlevel.checkpoint()
                    await proxy.refuse()
                    assert not proxy.connections
                await proxy.accept()


async def expect_lost(client: redis.asyncio.Redis) -> None:
    """Block on a key until the connection is lost."""
    with pytest.raises(redis.ConnectionError):
        await client.blpop(["nothing"], timeout=0)


@pytest.mark.quiet
@pytest.mark.needs("ip", "valkey")
async def test_a_machine_without_its_back_network_is_in_silence() -> None:
    with namespace() as machine, running_redis(host=machine.back.here) as server:
        command = [
            *machine.enter,
            sys.executable,
            "-c",
            PING_AND_WAIT,
            server.host,
            str(server.port),
        ]
        async with await anyio.open_process(command, stderr=None) as process:
            try:
                with anyio.fail_after(60):
                    assert "PONG" in await ping(process, patience=20)
                    machine.cut_back()
                    assert "silence" in await ping(process, patience=0.1)
                    machine.heal_back()
                    assert "PONG" in await ping(process, patience=20)
            finally:
                process.kill()


async def ping(process: anyio.abc.Process, patience: float) -> str:
    """Let the process send a PING and wait for some seconds; return what it prints about the answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdin.send(f"{patience}\n".encode())
    return (await process.stdout.receive()).decode()
