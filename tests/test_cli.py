"""The commands, as processes: what they print, where, and with which exit code they leave."""

import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
from asyncio import StreamReader, StreamWriter, start_server
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from signal import default_int_handler

import anyio
import anyio.abc
import anyio.to_thread
import pytest

import streamsvc
from conftest import Serve
from streamsvc.config.file import shipped_providers
from streamsvc.config.settings import FakeSettings, GenerationSettings, Settings
from streamsvc.errors import ProviderUnavailable
from streamsvc.events import Done, Outcome, Reasoning, Text
from streamsvc.providers.base import Finish
from support.doubles import HOLD, ScriptedProvider, Step, events_of
from support.service import Service

STOP = Finish(reason="stop")
COMMAND = [sys.executable, "-m", "streamsvc"]
STOPPED_SERVICE = "\nStopped: the service has closed the call to the provider.\n"

SLOW_WORDS = {
    "STREAMSVC_PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0",
    "STREAMSVC_PROVIDERS__FAKE__WORDS_PER_SECOND": "0.0001",
}
FAST_WORDS = {**SLOW_WORDS, "STREAMSVC_PROVIDERS__FAKE__WORDS_PER_SECOND": "0"}


@pytest.fixture(autouse=True)
def sigint_is_not_ignored() -> Iterator[None]:
    """A suite that was started in the background ignores Ctrl-C, and its processes inherit that."""
    before = signal.signal(signal.SIGINT, default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a shell: no settings but *extra*, and output that is buffered."""
    names = {
        name
        for name in os.environ
        if not name.startswith("STREAMSVC_") and name != "PYTHONUNBUFFERED"
    }
    return {**{name: os.environ[name] for name in names}, **extra}


def run(
    directory: Path, *arguments: str | Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in an empty directory."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=directory,
        env=environment(environ or {}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


@asynccontextmanager
async def started(
    directory: Path,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    stdout: int = subprocess.PIPE,
) -> AsyncIterator[anyio.abc.Process]:
    """Run a command beside the test."""
    with anyio.fail_after(30):
        async with await anyio.open_process(
            [*COMMAND, *arguments], cwd=directory, env=environment(environ or {}), stdout=stdout
        ) as process:
            yield process


async def read_until(process: anyio.abc.Process, text: str) -> None:
    """Read the pipe until exactly *text* has come."""
    assert process.stdout is not None
    seen = ""
    while len(seen) < len(text):
        seen += (await process.stdout.receive()).decode()
    assert seen == text


async def errors_of(process: anyio.abc.Process) -> str:
    """All that a process writes on standard error, up to its end."""
    assert process.stderr is not None
    return b"".join([chunk async for chunk in process.stderr]).decode()


async def scripted(serve: Serve, *script: Step, grace_seconds: float = 0.0) -> Service:
    """Start a service whose provider does what the script says."""
    settings = Settings(
        generations=GenerationSettings(grace_seconds=grace_seconds),
        providers={"fake": FakeSettings(attempts=2, backoff_seconds=0.001)},
    )
    service = await serve(settings)
    service.supervisor.entries._providers._open["fake"] = ScriptedProvider(*script)
    return service


async def asked(service: Service) -> None:
    """Wait until the provider of `scripted` has been asked."""
    provider = service.supervisor.entries._providers._open["fake"]
    assert isinstance(provider, ScriptedProvider)
    await provider.asked.wait()


async def only_done(service: Service) -> Done:
    """How the one generation of a service ended."""
    (generation,) = service.log._streams
    done = (await events_of(service.log, generation))[-1]
    assert isinstance(done, Done)
    return done


OPENAI_MODEL, GEMINI_MODEL = (shipped_providers()[name]["model"] for name in ("openai", "gemini"))

# ---- check-config


def test_good_settings_are_described_with_the_file_they_come_from(tmp_path: Path) -> None:
    text = '[providers.fake]\nkind = "fake"\n[providers.a]\nkind = "openai"\nmodel = "m"\n'
    (tmp_path / "config.toml").write_text(f'{text}api_key_env = "A_KEY"\n')
    result = run(tmp_path, "check-config")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        "Configuration OK (config.toml). Provider: 'fake'.\n"
        "  fake: kind fake, model words\n"
        "  a: kind openai, model m, no key set\n"
        f"  openai: kind openai, model {OPENAI_MODEL}, no key set\n"
        f"  gemini: kind gemini, model {GEMINI_MODEL}, no key set\n"
    )
    environ = {"A_KEY": "sk-secret", "STREAMSVC_PROVIDER": "a"}
    result = run(tmp_path, "check-config", environ=environ)
    assert "Provider: 'a'." in result.stdout
    assert "  a: kind openai, model m, key set\n" in result.stdout


def test_without_a_file_the_defaults_are_described(tmp_path: Path) -> None:
    result = run(tmp_path, "check-config")
    assert result.returncode == 0
    assert "Configuration OK (no file, defaults)." in result.stdout


@pytest.mark.promise("secret:kept")
def test_a_description_shows_no_key_not_even_in_the_place_of_its_variables_name(
    tmp_path: Path,
) -> None:
    environ = {
        "STREAMSVC_PROVIDERS__A__KIND": "gemini",
        "STREAMSVC_PROVIDERS__A__MODEL": "m",
        "STREAMSVC_PROVIDERS__A__API_KEY_ENV": "AIzaSySecret",
        "AIzaSySecret": "sk-secret",
    }
    result = run(tmp_path, "check-config", environ=environ)
    assert result.returncode == 0
    assert "ecret" not in result.stdout + result.stderr


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("command", [["check-config"], ["serve"], ["ask", "--direct", "hello"]])
def test_bad_settings_are_one_line_on_standard_error(tmp_path: Path, command: list[str]) -> None:
    """Whatever the command: nothing starts."""
    named = tmp_path / "bad.toml"
    named.write_text("[server]\nport = 70000\n")
    result = run(tmp_path, *command, "--config", named)
    assert (result.returncode, result.stdout) == (2, "")
    line = "server.port: found 70000; accepted: a whole number from 0 to 65535"
    assert result.stderr == f"{named}: {line}\n"


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("command", [["check-config"], ["serve"], ["ask", "hello"]], ids=str)
def test_certificates_that_cannot_be_read_are_one_line_on_standard_error(
    tmp_path: Path, command: list[str]
) -> None:
    """Every HTTP client would stumble over them, with a traceback."""
    (tmp_path / "none.pem").write_text("no certificate")
    for path in ("missing.pem", "none.pem"):
        result = run(tmp_path, *command, environ={"SSL_CERT_FILE": path})
        assert (result.returncode, result.stdout) == (2, "")
        accepted = "a readable file of PEM certificates"
        assert result.stderr == f"SSL_CERT_FILE: found {path!r}; accepted: {accepted}\n"


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["ask"], ["serve", "--port", "1"]])
def test_arguments_that_are_not_understood_are_explained(
    tmp_path: Path, arguments: list[str]
) -> None:
    result = run(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: streamsvc")
    assert "Traceback" not in result.stderr


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("option", "setting"),
    [
        (["--port", "9000"], "set server.port in config.toml, or STREAMSVC_SERVER__PORT"),
        (["--host=0.0.0.0"], "set server.host in config.toml, or STREAMSVC_SERVER__HOST"),
        (
            ["--log-level", "debug"],
            "set server.log_level in config.toml, or STREAMSVC_SERVER__LOG_LEVEL",
        ),
        (["--provider", "openai"], "set provider in config.toml, or STREAMSVC_PROVIDER"),
    ],
)
def test_an_option_that_is_a_setting_is_told_where_to_set_it(
    tmp_path: Path, option: list[str], setting: str
) -> None:
    result = run(tmp_path, "serve", *option)
    assert (result.returncode, result.stdout) == (2, "")
    *usage, line = result.stderr.splitlines()
    assert usage == ["usage: streamsvc serve [-h] [--config FILE]"]
    unknown = f"unrecognized arguments: {' '.join(option)}"
    assert line == f"streamsvc serve: error: {unknown} ({setting})"


def test_an_option_that_is_no_setting_is_refused_without_advice(tmp_path: Path) -> None:
    result = run(tmp_path, "serve", "--reload")
    assert result.stderr.endswith("streamsvc serve: error: unrecognized arguments: --reload\n")


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    result = run(tmp_path, "--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"streamsvc {streamsvc.__version__}\n"
    assert streamsvc.__version__ == importlib.metadata.version("streamsvc")


@pytest.mark.promise("input:clear-error")
def test_all_mistakes_in_the_settings_are_told_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[server]\nport = 70000\nprot = 1\n")
    result = run(tmp_path, "serve", environ={"STREAMSVC_PROVIDER": "opnai"})
    assert (result.returncode, result.stdout) == (2, "")
    assert [line.partition(": found")[0] for line in result.stderr.splitlines()] == [
        "config.toml: server.prot",
        "config.toml: server.port",
        "STREAMSVC_PROVIDER",
    ]


# ---- ask a service


@pytest.mark.promise("stream:word-by-word")
async def test_words_are_printed_as_they_come(tmp_path: Path, serve: Serve) -> None:
    """The next word is only said when the one before has been read from the pipe."""
    gates = [anyio.Event(), anyio.Event()]
    words = Text("one "), gates[0], Text("zwölf \U0001f980"), gates[1], STOP
    service = await scripted(serve, *words)
    async with started(tmp_path, "ask", "--url", service.url, "hello") as process:
        await read_until(process, "one ")
        gates[0].set()
        await read_until(process, "zwölf \U0001f980")
        gates[1].set()
        await read_until(process, "\n")
        assert await errors_of(process) == ""
        assert await process.wait() == 0
    assert (await only_done(service)).outcome is Outcome.COMPLETED


async def test_thinking_goes_to_standard_error_so_that_the_answer_can_be_piped(
    tmp_path: Path, serve: Serve
) -> None:
    gate = anyio.Event()
    service = await scripted(serve, Reasoning("hm "), gate, Text("one"), STOP)
    async with started(tmp_path, "ask", "--url", service.url, "hello") as process:
        assert process.stderr is not None
        assert await process.stderr.receive() == b"hm "
        gate.set()
        await read_until(process, "one\n")
        assert await errors_of(process) == ""


@pytest.mark.promise("provider:swap")
async def test_a_provider_can_be_named(tmp_path: Path, serve: Serve) -> None:
    other = FakeSettings(text="the other", words_per_second=0, first_word_seconds=0)
    service = await serve(Settings(providers={"fake": FakeSettings(), "other": other}))
    async with started(
        tmp_path, "ask", "--url", service.url, "--provider", "other", "hello"
    ) as process:
        await read_until(process, "the other\n")


@pytest.mark.promise("cancel:stop")
async def test_ctrl_c_stops_the_answer_and_says_so(tmp_path: Path, serve: Serve) -> None:
    """At once, although the service would go on for a minute without viewers."""
    service = await scripted(serve, Text("one "), HOLD, grace_seconds=60)
    async with started(tmp_path, "ask", "--url", service.url, "hello") as process:
        await read_until(process, "one ")
        process.send_signal(signal.SIGINT)
        assert await errors_of(process) == STOPPED_SERVICE
        assert await process.wait() == 130
        assert (await only_done(service)).outcome is Outcome.CLIENT_STOP


@pytest.mark.promise("cancel:disconnect")
async def test_ctrl_c_before_the_first_word_stops_it_too(tmp_path: Path, serve: Serve) -> None:
    service = await scripted(serve, HOLD)
    async with started(tmp_path, "ask", "--url", service.url, "hello") as process:
        await asked(service)
        process.send_signal(signal.SIGINT)
        left = "\nStopped before the answer began.\n"  # where its head was still on the way
        assert await errors_of(process) in {STOPPED_SERVICE, left}
        assert await process.wait() == 130
        done = await only_done(service)
        assert done.outcome in {Outcome.CLIENT_STOP, Outcome.NO_VIEWERS}


@pytest.mark.promise("cancel:disconnect")
async def test_a_closed_pipe_stops_the_answer_without_a_word(tmp_path: Path, serve: Serve) -> None:
    """As with `| head`; and the service does not go on for those who have what they wanted."""
    gate = anyio.Event()
    service = await scripted(serve, Text("one "), gate, Text("two "), HOLD, grace_seconds=60)
    reading, writing = os.pipe()
    command = ("ask", "--url", service.url, "hello")
    async with started(tmp_path, *command, stdout=writing) as process:
        os.close(writing)
        assert await anyio.to_thread.run_sync(os.read, reading, 100) == b"one "
        os.close(reading)
        gate.set()
        assert await errors_of(process) == ""
        assert await process.wait() == 141
        assert (await only_done(service)).outcome is Outcome.CLIENT_STOP


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("script", "printed", "sentence"),
    [
        (
            (Text("one"), ProviderUnavailable()),
            "one\n",
            "[provider_unavailable: asking again fake]\nThe provider is not available.\n",
        ),
        (
            (Text("one"),),
            "one\n",
            "[upstream_cut: asking again fake]\nThe provider's answer broke off in the middle.\n",
        ),
        (
            (Text("one"), Finish(reason="length")),
            "one\n",
            "The answer is not complete: length.\n",
        ),
    ],
    ids=["failed", "cut", "too long"],
)
async def test_an_answer_that_is_not_whole_is_no_success(
    tmp_path: Path, serve: Serve, script: tuple[Step, ...], printed: str, sentence: str
) -> None:
    """A script that goes by the exit code must not take half an answer for one."""
    service = await scripted(serve, *script)
    async with started(tmp_path, "ask", "--url", service.url, "hello") as process:
        await read_until(process, printed)
        assert await errors_of(process) == sentence
        assert await process.wait() == 1


@pytest.mark.promise("input:clear-error")
async def test_what_the_service_refuses_is_said_in_its_words(tmp_path: Path, serve: Serve) -> None:
    service = await serve(Settings())
    for arguments, sentence in [
        (["--provider", "nope", "hello"], "Unknown 'provider' 'nope'; configured are: fake.\n"),
        (["  "], "The prompt is empty.\n"),
    ]:
        async with started(tmp_path, "ask", "--url", service.url, *arguments) as process:
            assert await errors_of(process) == sentence
            assert await process.wait() == 1


@pytest.mark.promise("input:clear-error")
def test_when_nothing_listens_it_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    result = run(tmp_path, "ask", "--url", url, "hello")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"Nothing answers at {url}. Start it with `streamsvc serve`, or ask with --direct.\n"
    )


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("url", ["localhost:8000", "http://a:b"])
def test_an_address_that_is_none_is_told(tmp_path: Path, url: str) -> None:
    result = run(tmp_path, "ask", "--url", url, "hello")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"--url: found {url!r}; accepted: an http:// or https:// address\n"


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: hi\n\n",
            "\nWhat answers at {} is not streamsvc.\n",
        ),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "The answer is not a stream, but HTTP 404.\n",
        ),
        (b"", "\nThe connection to {} broke (RemoteProtocolError).\n"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Generation-Id: a\r\n\r\n",
            "\nThe answer broke off.\n",
        ),
    ],
    ids=["another event stream", "another service", "a hang-up", "a cut"],
)
async def test_whatever_else_answers_there_is_no_traceback(
    tmp_path: Path, answer: bytes, sentence: str
) -> None:
    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"hello")
        writer.write(answer)
        writer.close()

    server = await start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, started(tmp_path, "ask", "--url", url, "hello") as process:
        assert await errors_of(process) == sentence.format(url)
        assert await process.wait() == 1


# ---- ask a provider


def test_a_provider_is_asked_directly_without_a_service(tmp_path: Path) -> None:
    result = run(tmp_path, "ask", "--direct", "hello", environ=FAST_WORDS)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "FastAPI is the future of AI development.\n"


@pytest.mark.promise("provider:swap")
def test_a_provider_that_is_asked_directly_can_be_named(tmp_path: Path) -> None:
    environ = {
        "STREAMSVC_PROVIDERS__OTHER__KIND": "fake",
        "STREAMSVC_PROVIDERS__OTHER__REPLY": "echo",
    }
    result = run(tmp_path, "ask", "--direct", "--provider", "other", "zwölf", environ=environ)
    assert (result.returncode, result.stdout) == (0, "zwölf\n")


@pytest.mark.promise("cancel:stop")
async def test_ctrl_c_closes_the_call_to_a_provider_that_is_asked_directly(tmp_path: Path) -> None:
    """And the first word has been printed long before the second one comes."""
    async with started(tmp_path, "ask", "--direct", "hello", environ=SLOW_WORDS) as process:
        await read_until(process, "FastAPI ")
        process.send_signal(signal.SIGINT)
        assert await errors_of(process) == "\nStopped: the call to fake is closed.\n"
        assert await process.wait() == 130


@pytest.mark.promise("cancel:disconnect")
async def test_ctrl_c_closes_the_connection_to_an_upstream_that_has_said_nothing(
    tmp_path: Path,
) -> None:
    """Seen at the upstream's socket."""
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
def test_a_provider_that_is_asked_directly_has_its_deadlines_too(tmp_path: Path) -> None:
    environ = {
        "STREAMSVC_PROVIDERS__FAKE__FIRST_WORD_SECONDS": "3600",
        "STREAMSVC_PROVIDERS__FAKE__FIRST_TOKEN_SECONDS": "0.1",
    }
    result = run(tmp_path, "ask", "--direct", "hello", environ=environ)
    assert result.returncode == 1
    assert result.stderr == "The provider took too long (first token deadline).\n"


@pytest.mark.promise("input:clear-error")
def test_an_unknown_or_unready_provider_that_is_asked_directly_is_told(tmp_path: Path) -> None:
    environ = {
        "STREAMSVC_PROVIDERS__A__KIND": "openai",
        "STREAMSVC_PROVIDERS__A__MODEL": "m",
        "STREAMSVC_PROVIDERS__A__API_KEY_ENV": "A_KEY",
    }
    result = run(tmp_path, "ask", "--direct", "--provider", "nope", "hello", environ=environ)
    assert result.returncode == 1
    assert result.stderr == "Unknown 'provider' 'nope'; configured are: a, fake, gemini, openai.\n"
    result = run(tmp_path, "ask", "--direct", "--provider", "a", "hello", environ=environ)
    assert result.returncode == 1
    assert result.stderr == "The provider 'a' is configured, but its key is not set.\n"


@pytest.mark.parametrize("arguments", [["ask", "--direct", "write a function"], ["check-config"]])
def test_a_closed_pipe_gives_no_traceback(tmp_path: Path, arguments: list[str]) -> None:
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


def test_arguments_that_are_not_utf_8_are_asked_as_well_as_can_be(tmp_path: Path) -> None:
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
