"""The surroundings of a real process: its port, its standard streams, its signals and its log."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from support.eventstream import view, wire
from support.process import FAKE, RUNNING_ON, environment, serve, started, write_config
from support.upstreams import finish, text, until, upstream

QUICKSTART = Path(__file__).parents[1] / "docs" / "quickstart.md"
SERVE = [sys.executable, "-m", "streamsvc", "serve"]
ASK = "/stream-ai?prompt=hi"
QUICK = {"PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0", "PROVIDERS__FAKE__WORDS_PER_SECOND": "0"}
SILENT = {"PROVIDERS__FAKE__FIRST_WORD_SECONDS": "3600"}


async def run_to_its_end(
    directory: Path, settings: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    with anyio.fail_after(30):
        return await anyio.run_process(
            SERVE, cwd=directory, env=environment(settings, {}), check=False
        )


@pytest.mark.promise("input:clear-error")
async def test_a_port_in_use_is_one_line_that_names_the_setting(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = await run_to_its_end(tmp_path, {"SERVER__PORT": str(port)})
    assert done.returncode == 2
    other_port = port + 1000 if port <= 64_535 else port - 1000
    expected = (
        f"server.port: {port} on 127.0.0.1 is in use by another process; stop it, or choose another port, "
        f"as in --port {other_port}, and write it into the page that calls the service "
        "(docs/quickstart.md, Other ports)."
    )
    assert done.stderr.decode().splitlines() == [expected]
    assert "\n## Other ports\n" in QUICKSTART.read_text(encoding="utf-8")


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("host.invalid", "is not a known host name or address."),
        ("a..b", "is not a known host name or address."),
        ("192.0.2.1", "is not an address of this machine."),
    ],
)
async def test_an_unusable_host_is_one_line_that_says_why(
    tmp_path: Path, host: str, why: str
) -> None:
    done = await run_to_its_end(tmp_path, {"SERVER__HOST": host, "AUTH__ALLOW_ANONYMOUS": "true"})
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [f"server.host: '{host}' {why}"]


async def listening_port(process: anyio.abc.Process) -> int:
    """Return the port of a process that has no stream to log to, from the kernel's table.

    The kernel reports no event when a socket begins to listen, so the table is read now and then.
    """
    pid = process.pid
    while True:
        table = Path("/proc/net/tcp").read_text().splitlines()[1:]  # noqa: ASYNC240
        rows = [line.split() for line in table]
        ports = {row[9]: int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A"}
        for descriptor in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            try:
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")  # noqa: PTH115
            except FileNotFoundError:
                continue
            if (found := re.fullmatch(r"socket:\[(\d+)\]", target)) and found[1] in ports:
                return ports[found[1]]
        await anyio.sleep(0.05)


@asynccontextmanager
async def serve_under_shell(
    directory: Path, redirection: str, settings: Mapping[str, str]
) -> AsyncIterator[tuple[anyio.abc.Process, int]]:
    """Run the service with the standard streams that a shell redirection leaves it."""
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *SERVE]
    async with await anyio.open_process(
        command, env=environment(settings, {}), cwd=directory, stdin=None, stdout=None, stderr=None
    ) as process:
        try:
            with anyio.fail_after(30):
                yield process, await listening_port(process)
        finally:
            if process.returncode is None:
                process.kill()


@pytest.mark.promise("drain:no-loss")
@pytest.mark.skipif(sys.platform != "linux", reason="the port is read from /proc")
@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-", "2>&-"])
async def test_without_standard_streams_it_serves_and_exits_with_0(
    tmp_path: Path, closed: str
) -> None:
    async with serve_under_shell(tmp_path, closed, QUICK) as (process, port):
        async with view(port, ASK) as viewer:
            assert (await viewer.events())[-1].json["status"] == "completed"
        process.terminate()
        with anyio.fail_after(20):
            assert await process.wait() == 0


ON_TERMINAL = """
import os, sys
os.setsid()
os.open(sys.argv[1], os.O_RDWR)  # a session without a controlling terminal gets this one
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.promise("drain:no-loss")
@pytest.mark.skipif(
    sys.platform != "linux", reason="opening a terminal makes it the controlling one"
)
async def test_a_terminal_that_hangs_up_starts_a_drain(tmp_path: Path) -> None:
    """SIGHUP alone reads the settings again. The provider ends its answer once the drain has started."""
    go_on = anyio.Event()
    ours, theirs = os.openpty()
    async with upstream(text("One "), until(go_on), text("two."), finish()) as api:
        model = {"kind": "openai", "api_key_env": "", "model": "m", "base_url": api.url}
        write_config(tmp_path, {"providers.model": model})
        command = [sys.executable, "-c", ON_TERMINAL, os.ttyname(theirs), *SERVE]
        async with started(command, tmp_path, environment({"PROVIDER": "model"}, {})) as service:
            with anyio.fail_after(40):
                async with view(service.port, ASK) as viewer:
                    assert (await viewer.event()).type == "start"
                    service.process.send_signal(signal.SIGHUP)
                    await service.logged("settings.unchanged")
                    os.close(theirs)
                    os.close(ours)
                    await service.logged("drain.started generations=1")
                    go_on.set()
                    events = await viewer.events()
                assert events[-1].json["status"] == "completed"
                assert await service.end() == 0
    service.assert_quiet()


async def test_sighup_reads_the_settings_again(tmp_path: Path) -> None:
    """What needs a restart is named and stays; settings with a mistake change nothing."""
    write_config(tmp_path, {"providers.fake": {**FAKE, "text": "one"}})
    async with serve(tmp_path, {}) as service:
        with anyio.fail_after(60):
            more: dict[str, dict[str, object]]
            more = {"server": {"drain_seconds": 1.5}, "log": {"write_ms": 50}}
            write_config(tmp_path, {**more, "providers.fake": {**FAKE, "text": "two"}})
            service.process.send_signal(signal.SIGHUP)
            await service.logged(r"settings\.reloaded changed=providers\.fake\.text\n")
            names = r"server\.drain_seconds,log\.write_ms"
            await service.logged(
                rf"settings\.waiting needs_restart={names} \(restart the service\)"
            )
            assert (await service.client.get(f"{ASK}&format=plain")).text == "two"
            (tmp_path / "config.toml").unlink()  # its absence does not mean the defaults
            service.process.send_signal(signal.SIGHUP)
            await service.logged(r"settings\.refused .*config\.toml: found no readable file")
            assert (await service.client.get(f"{ASK}&format=plain")).text == "two"
            assert await service.terminate() == 0
    assert "drain.started generations=0 viewers=0 seconds=10" in service.output


@pytest.mark.skipif(sys.platform != "linux", reason="the signals that wait are in /proc")
async def test_a_sighup_during_the_start_waits(tmp_path: Path) -> None:
    """The process says in /proc that it holds the signal; from then on, none ends it."""
    hangup = 1 << (signal.SIGHUP - 1)

    def holds(process: Path) -> bool:
        held = re.search(r"SigBlk:\s*([0-9a-f]+)", (process / "status").read_text())
        return held is not None and int(held[1], 16) & hangup != 0

    async with await anyio.open_process(
        SERVE, env=environment(QUICK, {}), cwd=tmp_path, stdout=None, stderr=None
    ) as process:
        try:
            with anyio.fail_after(40):
                while not holds(Path(f"/proc/{process.pid}")):
                    await anyio.lowlevel.checkpoint()  # the kernel reports no event
                process.send_signal(signal.SIGHUP)
                port = await listening_port(process)
                async with view(port, ASK) as viewer:
                    assert (await viewer.events())[-1].json["status"] == "completed"
                process.terminate()
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()


async def test_a_watched_file_is_applied_when_it_changes(tmp_path: Path) -> None:
    """The level of the log is one of the settings that change at once."""
    write_config(tmp_path, {"providers.fake": {**FAKE, "text": "one"}})
    async with serve(tmp_path, {}, arguments=["--reload"]) as service:
        with anyio.fail_after(60):
            level: dict[str, dict[str, object]] = {"server": {"log_level": "warning"}}
            write_config(tmp_path, {**level, "providers.fake": {**FAKE, "text": "two"}})
            changed = r"server\.log_level,providers\.fake\.text"
            await service.logged(rf"settings\.reloaded changed={changed}\n")
            assert (await service.client.get(f"{ASK}&format=plain")).text == "two"
            assert await service.terminate() == 0
    assert "generation.finished" not in service.output


async def test_an_ignored_sighup_stays_ignored(tmp_path: Path) -> None:
    """nohup(1) starts programs this way."""
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *SERVE]
    async with started(command, tmp_path, environment(QUICK, {})) as service:
        with anyio.fail_after(30):
            assert (await service.client.get("/healthz")).json() == {"status": "ok"}
            service.process.send_signal(signal.SIGHUP)
            assert await service.is_ready()
            assert await service.terminate() == 0
    service.assert_quiet()


@pytest.mark.promise("drain:no-loss")
async def test_an_unread_log_blocks_no_answer(tmp_path: Path) -> None:
    """The pipe is full after 350 answers; once it is read, the dropped lines are counted."""
    reader, writer = os.pipe()
    with open(reader, "rb", closefd=True) as log:  # noqa: ASYNC230, PTH123
        async with await anyio.open_process(
            SERVE, env=environment(QUICK, {}), cwd=tmp_path, stdout=None, stderr=writer
        ) as process:
            os.close(writer)
            try:
                with anyio.fail_after(50):
                    head = b""
                    while (found := RUNNING_ON.search(head.decode(errors="replace"))) is None:
                        head += (piece := await anyio.to_thread.run_sync(os.read, reader, 4096))
                        assert piece, head
                    port = int(found[1])
                    async with wire(port) as connection:
                        for _ in range(1000):
                            answer = await connection.ask("GET", f"{ASK}&format=plain")
                            assert await answer.body()
                    process.terminate()
                    assert await process.wait() == 0
            finally:
                if process.returncode is None:
                    process.kill()
        lines = (await anyio.to_thread.run_sync(log.read)).decode().splitlines()
    assert 100 < sum("generation.finished" in line for line in lines) < 1000


async def test_500_open_streams_do_not_delay_a_new_connection(tmp_path: Path) -> None:
    """All waiting connections are accepted within a few turns of the loop, however long a turn takes."""
    paced = {"PROVIDERS__FAKE__TEXT": "word " * 1000, "PROVIDERS__FAKE__WORDS_PER_SECOND": "50"}
    async with serve(tmp_path, paced) as service:
        with anyio.fail_after(50):
            async with anyio.create_task_group() as tasks:
                opened = anyio.Event()
                count = 0

                async def hold() -> None:
                    nonlocal count
                    async with view(service.port, f"{ASK}&format=plain"):
                        count += 1
                        if count == 500:
                            opened.set()
                        await anyio.sleep_forever()

                for _ in range(500):
                    tasks.start_soon(hold)
                await opened.wait()
                async with view(service.port, "/healthz") as newcomer:
                    assert newcomer.status == 200
                tasks.cancel_scope.cancel()
