"""`streamsvc serve --workers 2` as processes: starting, sharing, replacing, restarting, stopping."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest

from support.eventstream import Answer, view, wire
from support.owned import own_tasks
from support.process import serve
from support.redis_servers import RedisServer
from support.workers import serve_workers, workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are observed in /proc")

ASK = "/stream-ai?prompt=hi"
QUICK = {"PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0", "PROVIDERS__FAKE__WORDS_PER_SECOND": "0"}
SILENT = {"PROVIDERS__FAKE__FIRST_WORD_SECONDS": "3600"}
LONG = {"PROVIDERS__FAKE__TEXT": "word " * 25, "PROVIDERS__FAKE__WORDS_PER_SECOND": "10"}
LISTENERS = 1
"""The sockets of a port that a worker has without any client."""

NOHUP = ("sh", "-c", 'trap "" HUP; exec "$@"', "sh")


def connections(pid: int, port: int) -> int:
    """Return how many clients of a port are connected to a process, from the kernel's table."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    here = {f"socket:[{row[9]}]" for row in rows if int(row[1].split(":")[1], 16) == port}
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(link.readlink()) in here
    return count


@asynccontextmanager
async def streams(port: int, count: int) -> AsyncIterator[list[Answer]]:
    """Hold open streams, each with its first event read."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(view(port, ASK)) for _ in range(count)]
        for stream in opened:
            assert (await stream.event()).type == "start"
        yield opened


async def test_200_connections_are_shared_by_two_workers(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """It also ignores SIGHUP if it was started by nohup(1)."""
    async with serve_workers(tmp_path, valkey, SILENT, shell=NOHUP) as service:
        with anyio.fail_after(60):
            assert service.output.count("Uvicorn running on") == 1
            service.process.send_signal(signal.SIGHUP)
            pids = [pid for [pid] in workers(service).values()]
            async with streams(service.port, 200):
                shares = [connections(pid, service.port) - LISTENERS for pid in pids]
                print(f"shares of 200 connections: {shares}")
                assert sum(shares) == 200
                assert min(shares) >= 70
            assert await service.terminate() == 0
    assert "workers.stopping signal=SIGTERM" in service.output
    assert "SIGHUP" not in service.output
    assert {" worker=1", " worker=2"} <= {line[-9:] for line in service.output.splitlines()}
    service.assert_quiet()


@asynccontextmanager
async def streams_of_each(port: int, pids: Sequence[int]) -> AsyncIterator[list[Answer]]:
    """Hold open streams until each worker has one: an idle machine may give the first ones all to the same worker."""
    async with AsyncExitStack() as stack:
        opened: list[Answer] = []
        while any(connections(pid, port) <= LISTENERS for pid in pids):
            opened.append(await stack.enter_async_context(view(port, ASK)))
            assert (await opened[-1].event()).type == "start"
        yield opened


@asynccontextmanager
async def newcomers(port: int) -> AsyncIterator[Callable[[], int]]:
    """Open one connection after another, each for one request; yield how many have been served."""
    served = 0

    async def arrive() -> None:
        nonlocal served
        while True:
            async with wire(port) as connection:
                answer = await connection.ask("GET", "/healthz")
                assert (answer.status, await answer.json()) == (200, {"status": "ok"})
            served += 1
            await anyio.sleep(0.01)  # the pace of the load, not a wait

    async with own_tasks() as tasks:
        tasks.start_soon(arrive)
        yield lambda: served
        tasks.cancel_scope.cancel()


@pytest.mark.long
@pytest.mark.promise("drain:no-loss")
async def test_a_rolling_restart_loses_no_connection_and_no_word(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """SIGTERM replaces one worker in the same way; with wrong settings, the old workers stay."""
    async with serve_workers(tmp_path, valkey, LONG) as service:
        async with newcomers(service.port) as count:
            old = {pid for [pid] in workers(service).values()}
            async with streams(service.port, 4) as opened, wire(service.port) as idle:
                assert await (await idle.ask("GET", "/healthz")).body()
                service.process.send_signal(signal.SIGUSR2)
                for stream in opened:
                    assert (await stream.events())[-1].json["status"] == "completed"
                await service.logged("restart.finished workers=2")
                with pytest.raises((EOFError, ConnectionError)):
                    await idle.ask("GET", "/healthz")
            new = {number: pid for number, [pid] in workers(service).items()}
            assert sorted(new) == [1, 2]
            assert not old & {*new.values()}

            os.kill(new[2], signal.SIGTERM)
            await service.logged(rf"worker\.left number=2 pid={new[2]} exit=0")

            (tmp_path / "config.toml").write_text("[server]\nprot = 1\n")
            service.process.send_signal(signal.SIGUSR2)
            await service.logged("settings.refused")
            assert service.output.count("config.toml: server.prot: found an unknown key") == 1
            served = count()
            while count() < served + 10:
                await anyio.lowlevel.checkpoint()
        assert await service.terminate() == 0
    service.assert_quiet("settings.refused")


@pytest.mark.promise("change:no-loss")
async def test_both_workers_read_settings_that_the_supervisor_has_checked(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """At SIGHUP, and when the file changes. A mistake is one line, of the supervisor."""
    file = tmp_path / "config.toml"
    file.write_text('[providers.fake]\ntext = "one"\n')
    settings = {**QUICK, "SERVER__WATCH_CONFIG": "true", "PROVIDERS__FAKE__REPLY": "text"}
    async with serve_workers(tmp_path, valkey, settings) as service:
        with anyio.fail_after(60):
            more = "[server]\nclose_seconds = 5\n"
            file.write_text(f'{more}[providers.fake]\ntext = "two"\n')
            for number in (1, 2):
                changed = r"settings\.reloaded changed=providers\.fake\.text"
                await service.logged(rf"{changed} worker={number}")
            waiting = r"settings\.waiting needs_restart=server\."
            await service.logged(rf"{waiting}close_seconds \(SIGUSR2 replaces the workers\)")
            assert (await service.client.get(f"{ASK}&format=plain")).text == "two"
            since = len(service.output)
            file.write_text(f"{more}prot = 1\n")
            await service.logged(
                r"settings\.refused mistakes=.*server\.prot: found an unknown key", since=since
            )
            [victim] = workers(service)[1]
            os.kill(victim, signal.SIGKILL)  # its replacement has what was last good
            await service.logged(r"worker\.started number=1", since=since)
            for _ in range(8):
                assert (await service.client.get(f"{ASK}&format=plain")).text == "two"
            file.write_text(f'{more}[providers.fake]\ntext = "two"\n')
            await service.logged(r"workers\.reloading workers=2", since=since)
            service.process.send_signal(signal.SIGUSR2)
            await service.logged(r"restart\.finished")
            since = len(service.output)
            service.process.send_signal(signal.SIGHUP)
            for number in (1, 2):
                await service.logged(rf"settings\.unchanged worker={number}", since=since)
            assert "settings.waiting" not in service.output[since:]
            assert await service.terminate() == 0
    assert service.output.count("settings.refused") == 1
    assert service.output.count("worker.died") == 1
    service.assert_quiet(r"settings\.refused", r"settings\.waiting", r"worker\.died")


async def test_a_killed_worker_is_replaced(tmp_path: Path, valkey: RedisServer) -> None:
    """SIGUSR2 is meant for the supervisor; a worker survives it."""
    async with serve_workers(tmp_path, valkey, QUICK) as service:
        with anyio.fail_after(60):
            [victim] = workers(service)[1]
            since = len(service.output)
            os.kill(victim, signal.SIGKILL)
            await service.logged(f"worker.died number=1 pid={victim} signal=SIGKILL")
            [other] = workers(service)[2]
            os.kill(other, signal.SIGUSR2)
            await service.logged("signal.ignored signal=SIGUSR2 .* worker=2")
            for _ in range(20):  # the other worker serves
                async with view(service.port, ASK) as answer:
                    assert (await answer.events())[-1].json["status"] == "completed"
            await service.logged("worker.started number=1", since=since)
            assert await service.terminate() == 0
    service.assert_quiet("worker.died", "signal.ignored")


@pytest.mark.promise("drain:no-loss")
@pytest.mark.promise("end:exactly-one")
async def test_a_signal_to_every_process_counts_once(tmp_path: Path, valkey: RedisServer) -> None:
    """A terminal sends Ctrl-C to a process group; systemd sends SIGTERM to all processes of a service."""
    settings = {**SILENT, "SERVER__DRAIN_SECONDS": "3600", "GENERATIONS__RESCUE": "false"}
    async with serve_workers(tmp_path, valkey, settings) as service:
        with anyio.fail_after(60):
            pids = [service.process.pid, *(pid for [pid] in workers(service).values())]
            async with streams_of_each(service.port, pids[1:]) as opened:
                for pid in pids:
                    os.kill(pid, signal.SIGTERM)
                for number in (1, 2):
                    await service.logged(rf"drain\.started .* worker={number}")
                for pid in reversed(pids[1:]):
                    os.kill(pid, signal.SIGINT)
                assert not await service.is_ready()
                assert "drain.finished" not in service.output
                os.killpg(service.process.pid, signal.SIGINT)
                for stream in opened:
                    [done] = await stream.events()
                    assert done.json["error"]["code"] == "drained"
            assert await service.end() == 0
    assert service.output.count("workers.stopping") == 2
    service.assert_quiet()


@pytest.mark.promise("drain:no-loss")
async def test_workers_without_supervisor_free_the_port_and_finish(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """From then on they count signals themselves: one more ends the drain of that worker."""
    settings = {**LONG, "GENERATIONS__RESCUE": "false"}
    sockets = tmp_path / "sockets"
    sockets.mkdir()
    shell = ("env", f"TMPDIR={sockets}")
    async with serve_workers(tmp_path, valkey, settings, shell=shell) as service:
        with anyio.fail_after(60):
            pids = [pid for [pid] in workers(service).values()]
            async with streams_of_each(service.port, pids) as opened:
                service.process.kill()
                for number in (1, 2):
                    await service.logged(rf"supervisor\.died: .* worker={number}")
                [victim] = workers(service)[1]
                os.kill(victim, signal.SIGTERM)
                port = {"SERVER__PORT": str(service.port)}
                async with serve(tmp_path, {**QUICK, **port}) as successor:
                    assert await successor.is_ready()
                    ends = [(await stream.events())[-1].json for stream in opened]
                    await service.end()  # the workers have closed its output
                    assert await successor.terminate() == 0
    assert {end["status"] for end in ends} == {"completed", "failed"}
    assert {end["error"]["code"] for end in ends if end["error"]} == {"drained"}
    assert [*sockets.iterdir()] == []
    service.assert_quiet("supervisor.died")
