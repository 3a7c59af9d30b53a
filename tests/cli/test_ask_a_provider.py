"""`streamsvc ask --direct`: a provider without a service."""

import signal
import subprocess
from asyncio import StreamReader, StreamWriter, start_server
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
import pytest

from support.commands import (
    COMMAND,
    FAST_WORDS,
    SLOW_WORDS,
    environment,
    errors_of,
    read_until,
    run,
    started,
)


def test_direct_needs_no_service(tmp_path: Path) -> None:
    result = run(tmp_path, "ask", "--direct", "hello", environ=FAST_WORDS)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "FastAPI is the future of AI development.\n"


@pytest.mark.promise("provider:swap")
def test_direct_can_name_a_provider(tmp_path: Path) -> None:
    environ = {
        "STREAMSVC_PROVIDERS__OTHER__KIND": "fake",
        "STREAMSVC_PROVIDERS__OTHER__REPLY": "echo",
    }
    result = run(tmp_path, "ask", "--direct", "--provider", "other", "zwölf", environ=environ)
    assert (result.returncode, result.stdout) == (0, "zwölf\n")


@pytest.mark.promise("cancel:stop")
async def test_ctrl_c_closes_a_direct_call(tmp_path: Path) -> None:
    """The first word is printed long before the second one arrives."""
    async with started(tmp_path, "ask", "--direct", "hello", environ=SLOW_WORDS) as process:
        await read_until(process, "FastAPI ")
        process.send_signal(signal.SIGINT)
        assert await errors_of(process) == "\nStopped: the call to fake is closed.\n"
        assert await process.wait() == 130


@pytest.mark.promise("cancel:disconnect")
async def test_ctrl_c_closes_the_connection_to_a_silent_upstream(
    tmp_path: Path,
) -> None:
    """The upstream sees the end at its socket."""
    was_asked, was_closed = anyio.Event(), anyio.Event()

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"hello")
        was_asked.set()
        await reader.read()
        was_closed.set()
        writer.close()

    server = await start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    environ = {
        "STREAMSVC_PROVIDERS__LOCAL__KIND": "openai",
        "STREAMSVC_PROVIDERS__LOCAL__MODEL": "m",
        "STREAMSVC_PROVIDERS__LOCAL__BASE_URL": f"http://127.0.0.1:{port}/v1",
        "STREAMSVC_PROVIDER": "local",
    }
    async with server, started(tmp_path, "ask", "--direct", "hello", environ=environ) as process:
        await was_asked.wait()
        process.send_signal(signal.SIGINT)
        assert await errors_of(process) == "\nStopped: the call to local is closed.\n"
        assert await process.wait() == 130
        await was_closed.wait()


@pytest.mark.promise("upstream:bounded")
def test_deadlines_apply_to_direct_calls(tmp_path: Path) -> None:
    environ = {
        "STREAMSVC_PROVIDERS__FAKE__FIRST_WORD_SECONDS": "3600",
        "STREAMSVC_PROVIDERS__FAKE__FIRST_TOKEN_SECONDS": "0.1",
    }
    result = run(tmp_path, "ask", "--direct", "hello", environ=environ)
    assert result.returncode == 1
    assert result.stderr == "The provider took too long (first token deadline).\n"


@pytest.mark.promise("input:clear-error")
def test_unknown_or_unready_provider_is_an_error(tmp_path: Path) -> None:
    environ = {
        "STREAMSVC_PROVIDERS__A__KIND": "openai",
        "STREAMSVC_PROVIDERS__A__MODEL": "m",
        "STREAMSVC_PROVIDERS__A__API_KEY_ENV": "A_KEY",
    }
    result = run(tmp_path, "ask", "--direct", "--provider", "nope", "hello", environ=environ)
    assert result.returncode == 1
    assert result.stderr == "Unknown 'provider' 'nope'; configured: a, fake, gemini, openai.\n"
    result = run(tmp_path, "ask", "--direct", "--provider", "a", "hello", environ=environ)
    assert result.returncode == 1
    assert result.stderr == "The provider 'a' is configured, but its key is not set.\n"


@pytest.mark.parametrize("arguments", [["ask", "--direct", "write a function"], ["check-config"]])
def test_closed_pipe_gives_no_traceback(tmp_path: Path, arguments: list[str]) -> None:
    """The reader takes five bytes and leaves, as `head -c 5` does."""
    environ = environment({**FAST_WORDS, "STREAMSVC_PROVIDERS__FAKE__WORDS_PER_SECOND": "1000"})
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if arguments[0] == "ask":
            assert process.stdout.read(5)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141


def test_prompt_that_is_not_utf_8_is_sent_with_replacements(tmp_path: Path) -> None:
    result = subprocess.run(
        [*(part.encode() for part in COMMAND), b"ask", b"--direct", b"caf\xe9"],
        cwd=tmp_path,
        env=environment({**FAST_WORDS, "STREAMSVC_PROVIDERS__FAKE__REPLY": "echo"}),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode() == "caf\N{REPLACEMENT CHARACTER}\n"
