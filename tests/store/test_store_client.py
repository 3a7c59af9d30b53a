"""The connections to Redis: what is repeated, what is noted, and what reaches no log."""

import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest

from streamsvc.config.settings import LogSettings
from streamsvc.errors import StoreUnavailable
from streamsvc.store import client, scripts
from streamsvc.store.client import Store
from streamsvc.store.health import Trouble
from support.logged import logged
from support.redis_proxy import redis_proxy
from support.redis_servers import RedisServer, free_port, running_redis

pytestmark = pytest.mark.needs("valkey")

SECRET = "the-secret-password"


@asynccontextmanager
async def opened(url: str, prefix: str = "p", **settings: Any) -> AsyncIterator[Store]:
    """Yield a store whose background work runs."""
    store = Store(LogSettings(kind="redis", url=url, prefix=prefix, **settings), logged())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.run_background)
        with anyio.fail_after(20):
            yield store
        tasks.cancel_scope.cancel()


async def notify(store: Store) -> Any:
    return await store.run(scripts.NOTIFY, [store.keys.control("0-w")], [10_000, "w", 1])


async def append(store: Store, generation: str = "gen_aa") -> Sequence[int]:
    """Append a record with a packed command; return the reply."""
    lease = store.leases.begin(generation)
    piece = b"\x91\x96" + b"\xa1t" + b"\x00\xff\x00\x00" + b"\x91\xa2ta"  # MessagePack
    reply: Sequence[int] = await store.run_packed(
        scripts.APPEND, [lease.keys], [b"1000", b"1000", b"w", piece], count=2
    )
    return reply


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the first words of what was logged about the store."""
    found = [record.getMessage() for record in caplog.records if "streamsvc" in record.name]
    return [message.split(" cause")[0].split(" after")[0] for message in found]


async def test_a_server_that_lost_its_scripts_gets_them_again(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with opened(valkey.url, key_prefix) as store:
        for _ in range(2):
            valkey.command("SCRIPT", "FLUSH")
            assert await notify(store) == 1
            valkey.command("SCRIPT", "FLUSH")
            assert await append(store) == [0, 0]


async def test_scripts_are_loaded_although_every_connection_is_busy(
    valkey: RedisServer, key_prefix: str
) -> None:
    """All of them wait for the same script after a restart of the server."""
    async with opened(valkey.url, key_prefix) as store:
        valkey.command("SCRIPT", "FLUSH")
        async with anyio.create_task_group() as tasks:
            for number in range(3 * client._CONNECTIONS):
                tasks.start_soon(append, store, f"gen_{number:02}")
        assert store.health.trouble is None


@pytest.mark.promise("scale:any-worker")
async def test_connections_that_the_server_closed_are_no_outage(
    valkey: RedisServer, key_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers and firewalls close idle connections."""
    async with opened(valkey.url, key_prefix) as store:
        reads = store.blocking_reads()
        places = [(store.keys.control("0-w"), "0-0")]
        await notify(store)
        assert len(await reads.read(places, count=1)) == 1
        for _ in range(2):
            valkey.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert await notify(store) == 1
            assert len(await reads.read(places, count=1)) == 1
        await reads.close()
    assert lines(caplog) == []


async def test_a_blocking_read_ends_by_itself(valkey: RedisServer, key_prefix: str) -> None:
    async with opened(valkey.url, key_prefix) as store:
        reads = store.blocking_reads()
        assert await reads.read([(store.keys.control("0-w"), "0-0")], count=1, seconds=0.01) == []
        await reads.close()


async def test_a_cancelled_command_leaves_no_reply_to_the_next(
    valkey: RedisServer, key_prefix: str
) -> None:
    async with redis_proxy(valkey) as proxy, opened(proxy.url, key_prefix) as store:
        await append(store)
        proxy.pause()
        with anyio.move_on_after(0.05) as cut:
            await append(store)
        assert cut.cancelled_caught
        proxy.resume()
        for _ in range(3):
            assert await store.command("PING") is True
            assert await notify(store) == 1


@pytest.mark.parametrize("makes_call", [notify, append])
async def test_a_lost_reply_is_asked_for_again(
    valkey: RedisServer, key_prefix: str, makes_call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script is run twice, and recognizes its own change."""
    async with redis_proxy(valkey) as proxy, opened(proxy.url, key_prefix) as store:
        await makes_call(store)
        monkeypatch.setattr(store.leases, "begin", lambda _name: store.leases.get("gen_aa"))
        proxy.pause()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(makes_call, store)
            await anyio.sleep(0.05)
            await proxy.cut()
            proxy.resume()
        assert store.health.trouble is None


async def test_a_refused_connection_is_logged_once_until_it_works_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PROBE_SECONDS", 0.01)
    with running_redis() as server:
        async with redis_proxy(server) as proxy, opened(proxy.url) as store:
            await notify(store)
            await proxy.refuse()
            for _ in range(3):
                with pytest.raises(StoreUnavailable) as refused:
                    await notify(store)
                assert "unreachable" in str(refused.value.log_details)
            assert store.health.is_down
            attempts = proxy.accepted
            await anyio.sleep(0.05)
            assert proxy.accepted == attempts
            await proxy.accept()
            await store.health.wait_usable()
            assert await notify(store) == 1
    assert lines(caplog) == ["store.lost reason=unreachable", "store.back"]


async def test_a_silent_server_is_noticed_after_the_time_of_a_command(
    valkey: RedisServer, key_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        redis_proxy(valkey) as proxy,
        opened(proxy.url, key_prefix, timeout_seconds=0.1) as store,
    ):
        await notify(store)
        proxy.pause()
        with pytest.raises(StoreUnavailable):
            await notify(store)
        assert store.health.trouble is Trouble.SILENT
        proxy.resume()
        await store.health.wait_usable()
    assert lines(caplog) == ["store.lost reason=silent", "store.back"]


@pytest.mark.parametrize(
    ("frozen", "word"), [("maxmemory", Trouble.FULL), ("replicaof", Trouble.READ_ONLY)]
)
async def test_a_server_without_writes_is_back_when_it_takes_one(
    frozen: str, word: Trouble, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still reads and deletes meanwhile, which is no sign that it is back."""
    monkeypatch.setattr(client, "PROBE_SECONDS", 0.01)
    with running_redis() as server:
        off: tuple[Any, ...] = ("REPLICAOF", "127.0.0.1", 1)
        on: tuple[Any, ...] = ("REPLICAOF", "NO", "ONE")
        if frozen == "maxmemory":
            off, on = ("CONFIG", "SET", frozen, 1), ("CONFIG", "SET", frozen, 0)
        async with opened(server.url) as store:
            await append(store)
            server.command(*off)
            keys = store.keys
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await notify(store)
                assert await store.run(scripts.LOOK, [keys.meta("gen_aa")])
                if word is Trouble.FULL:
                    names = [keys.meta("gen_ab"), keys.request("gen_ab"), keys.viewers("gen_ab")]
                    await store.run(scripts.TIDY, names)
                assert store.health.trouble is word
                assert not store.health.is_down
            server.command(*on)
            await store.health.wait_usable()
            assert await notify(store) == 1
    assert lines(caplog) == [f"store.lost reason={word}", "store.back"]


@pytest.mark.promise("secret:kept")
async def test_a_wrong_password_is_named_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with running_redis(password="right") as server:
        url = server.url.replace("right", SECRET)
        async with opened(url) as store:
            for makes_call in (notify, append):
                with pytest.raises(StoreUnavailable) as refused:
                    await makes_call(store)
                assert SECRET not in str(refused.value) + str(refused.value.log_details)
            reads = store.blocking_reads()
            with pytest.raises(StoreUnavailable):
                await reads.read([(b"k", "0-0")], count=1)
            await reads.close()
            assert store.health.trouble is Trouble.MISCONFIGURED
    assert lines(caplog) == ["store.lost reason=misconfigured"]
    assert SECRET not in caplog.text
    assert "right" not in caplog.text


@pytest.mark.promise("secret:kept")
async def test_what_the_server_says_reaches_no_log(
    valkey: RedisServer, key_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its sentences repeat arguments, which may be a prompt."""
    async with opened(valkey.url, key_prefix) as store:
        with pytest.raises(StoreUnavailable) as refused:
            await store.command(SECRET, SECRET)
        assert store.health.trouble is Trouble.MISCONFIGURED
        assert SECRET not in str(refused.value) + str(refused.value.log_details)
        await store.health.wait_usable()
    assert SECRET not in caplog.text


async def test_a_unix_socket_serves_as_well() -> None:
    with running_redis(unix=True) as server:
        async with opened(server.url) as store:
            assert await notify(store) == 1


@pytest.mark.parametrize(
    ("words", "trouble"),
    [
        ("LOADING Redis is loading the dataset in memory", Trouble.UNREACHABLE),
        ("MISCONF Redis is configured to save RDB snapshots", Trouble.READ_ONLY),
        ("NOREPLICAS Not enough good replicas to write.", Trouble.READ_ONLY),
        ("CLUSTERDOWN Hash slot not served", Trouble.UNREACHABLE),
        ("NOPERM this user has no permissions", Trouble.MISCONFIGURED),
        ("ERR unknown command", Trouble.MISCONFIGURED),
    ],
)
async def test_an_error_reply_says_what_the_trouble_is(words: str, trouble: Trouble) -> None:
    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            async for data in stream:
                commands = re.findall(rb"\*\d+\r\n\$\d+\r\n(\w+)", data)
                replies = [f"-{words}" if name == b"GET" else "+OK" for name in commands]
                await stream.send("".join(f"{reply}\r\n" for reply in replies).encode())

    port = free_port()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        async with opened(f"redis://127.0.0.1:{port}/0") as store:
            with pytest.raises(StoreUnavailable):
                await store.command("GET", "a")
            assert store.health.trouble is trouble
        tasks.cancel_scope.cancel()
