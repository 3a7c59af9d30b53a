"""The server of a test run: a real process on a free port, and the pytest fixture that has one."""

import subprocess
import sys
import urllib.request
from contextlib import ExitStack

import pytest

from streamsvc.testing import Script, Server, parse_events, serve
from streamsvc.testing.answers import answer_of


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as response:  # noqa: S310  # our own server
        return str(response.read().decode())


def test_server_answers_until_it_is_left() -> None:
    script = Script().words("Hello from a script.")
    with serve({"providers": {"fake": {"script": script}}}) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert server.openai_url == f"{server.url}/v1"
        answer = answer_of(parse_events(get(f"{server.url}/stream-ai?prompt=hi")))
        assert answer.text == "Hello from a script."
    assert "generation.finished" in server.log
    with pytest.raises(OSError, match="refused"):
        get(f"{server.url}/readyz")


def test_server_that_cannot_start_says_why() -> None:
    with (
        pytest.raises(RuntimeError, match="STREAMSVC_SERVER__PORT: found 'many'"),
        serve({"server": {"port": "many"}}),
    ):
        pass


def test_server_stops_while_answers_stream() -> None:
    script = Script().words("one").pause(3600)
    with ExitStack() as stack, serve({"providers": {"fake": {"script": script}}}) as server:
        url = f"{server.url}/stream-ai?prompt=hi"
        answer = urllib.request.urlopen(url, timeout=20)  # noqa: S310  # our own server
        stack.enter_context(answer)
        while b"one" not in answer.readline():
            pass
    assert "outcome=drained" in server.log


def test_server_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as server:
        monkeypatch.setattr("streamsvc.testing.server.STOP_SECONDS", 0.0)
        assert server.port
    with pytest.raises(OSError, match="refused"):
        get(f"{server.url}/readyz")


def test_fixture_needs_no_settings(streamsvc_server: Server) -> None:
    assert "FastAPI" in get(f"{streamsvc_server.url}/stream-ai?prompt=hi")


def test_each_process_of_a_run_may_have_a_server_of_its_own(streamsvc_server: Server) -> None:
    with serve({"providers": {"fake": {"text": "Another."}}}) as other:
        assert other.port != streamsvc_server.port
        assert "Another." in get(f"{other.url}/stream-ai?prompt=hi")
        assert "FastAPI" in get(f"{streamsvc_server.url}/stream-ai?prompt=hi")


def test_plugin_imports_nothing_of_the_service_before_it_is_used() -> None:
    code = "import streamsvc.pytest_plugin, sys; print({'httpx2', 'starlette', 'msgspec'} & {*sys.modules})"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50
    )
    assert process.stdout == "set()\n"


def test_testing_needs_no_pytest() -> None:
    code = "import streamsvc.testing, sys; print('pytest' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50
    )
    assert process.stdout == "False\n"
