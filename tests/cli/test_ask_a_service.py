"""`streamsvc ask` against a running service: the answer as it streams, Ctrl-C, failures."""

import os
import signal
import socket
from asyncio import StreamReader, StreamWriter, start_server
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
import pytest

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import GenerationSettings, Settings
from streamsvc.events import Done, Outcome, Reasoning, Text
from streamsvc.provider_errors import ProviderUnavailable
from streamsvc.providers.base import Finish
from support.api_keys import KeysFile, guarded
from support.commands import errors_of, read_until, run, started
from support.doubles import HOLD, ScriptedProvider, Step, events_of
from support.service import Service

STOP = Finish(reason="stop")


WITH_KEY = "`streamsvc ask` sends the key that is in STREAMSVC_KEY.\n"

STOPPED_SERVICE = "\nStopped: the service has closed the call to the provider.\n"


async def scripted(serve: Serve, *script: Step, grace_seconds: float = 0.0) -> Service:
    """Start a service whose provider follows the script."""
    settings = Settings(
        generations=GenerationSettings(grace_seconds=grace_seconds),
        providers={"fake": FakeSettings(attempts=2, backoff_seconds=0.001)},
    )
    service = await serve(settings)
    service.supervisor.entries._providers.client("fake").use(ScriptedProvider(*script))
    return service


async def asked(service: Service) -> None:
    """Wait until the provider of `scripted` has been called."""
    provider = await service.supervisor.entries._providers.get("fake")
    assert isinstance(provider, ScriptedProvider)
    await provider.asked.wait()


async def only_done(service: Service) -> Done:
    """Return the outcome of the only generation of a service."""
    (generation,) = service.log._streams
    done = (await events_of(service.log, generation))[-1]
    assert isinstance(done, Done)
    return done


@pytest.mark.promise("stream:word-by-word")
async def test_words_are_printed_as_they_arrive(tmp_path: Path, serve: Serve) -> None:
    """The provider sends each word only once the previous one has been read from the pipe."""
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


async def test_reasoning_goes_to_standard_error(tmp_path: Path, serve: Serve) -> None:
    gate = anyio.Event()
    service = await scripted(serve, Reasoning("hm "), gate, Text("one"), STOP)
    async with started(tmp_path, "ask", "--url", service.url, "hello") as process:
        assert process.stderr is not None
        assert await process.stderr.receive() == b"hm "
        gate.set()
        await read_until(process, "one\n")
        assert await errors_of(process) == ""


@pytest.mark.promise("provider:swap")
async def test_request_can_name_a_provider(tmp_path: Path, serve: Serve) -> None:
    other = FakeSettings(text="the other", words_per_second=0, first_word_seconds=0)
    service = await serve(Settings(providers={"fake": FakeSettings(), "other": other}))
    async with started(
        tmp_path, "ask", "--url", service.url, "--provider", "other", "hello"
    ) as process:
        await read_until(process, "the other\n")


@pytest.mark.promise("cancel:stop")
async def test_ctrl_c_stops_the_answer_and_says_so(tmp_path: Path, serve: Serve) -> None:
    """The answer stops at once, although the grace is a minute."""
    service = await scripted(serve, Text("one "), HOLD, grace_seconds=60)
    async with started(tmp_path, "ask", "--url", service.url, "hello") as process:
        await read_until(process, "one ")
        process.send_signal(signal.SIGINT)
        assert await errors_of(process) == STOPPED_SERVICE
        assert await process.wait() == 130
        assert (await only_done(service)).outcome is Outcome.CLIENT_STOP


@pytest.mark.promise("cancel:disconnect")
async def test_ctrl_c_before_the_first_word_stops_the_answer(tmp_path: Path, serve: Serve) -> None:
    service = await scripted(serve, HOLD)
    async with started(tmp_path, "ask", "--url", service.url, "hello") as process:
        await asked(service)
        process.send_signal(signal.SIGINT)
        left = "\nStopped before the answer began.\n"  # if the head has not arrived yet
        assert await errors_of(process) in {STOPPED_SERVICE, left}
        assert await process.wait() == 130
        done = await only_done(service)
        assert done.outcome in {Outcome.CLIENT_STOP, Outcome.NO_VIEWERS}


@pytest.mark.promise("cancel:disconnect")
async def test_closed_pipe_stops_the_answer_silently(tmp_path: Path, serve: Serve) -> None:
    """`| head` closes the pipe this way. The service does not continue, although it has a grace."""
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
            "[provider_unavailable: retrying fake]\nThe provider is not available.\n",
        ),
        (
            (Text("one"),),
            "one\n",
            "[upstream_cut: retrying fake]\nThe provider's answer broke off in the middle.\n",
        ),
        (
            (Text("one"), Finish(reason="length")),
            "one\n",
            "The answer is incomplete: length.\n",
        ),
    ],
    ids=["failed", "cut", "too long"],
)
async def test_incomplete_answer_is_a_failure(
    tmp_path: Path, serve: Serve, script: tuple[Step, ...], printed: str, sentence: str
) -> None:
    """A script that checks the exit code must not mistake half an answer for a complete one."""
    service = await scripted(serve, *script)
    async with started(tmp_path, "ask", "--url", service.url, "hello") as process:
        await read_until(process, printed)
        assert await errors_of(process) == sentence
        assert await process.wait() == 1


@pytest.mark.promise("input:clear-error")
async def test_refusal_of_the_service_is_printed(tmp_path: Path, serve: Serve) -> None:
    service = await serve(Settings())
    for arguments, sentence in [
        (["--provider", "nope", "hello"], "Unknown 'provider' 'nope'; configured: fake.\n"),
        (["  "], "The prompt is empty.\n"),
    ]:
        async with started(tmp_path, "ask", "--url", service.url, *arguments) as process:
            assert await errors_of(process) == sentence
            assert await process.wait() == 1


@pytest.mark.parametrize(
    ("of_shell", "printed", "sentence", "code"),
    [
        ("right", "one two\n", "", 0),
        ("wrong", "", "The API key or token is not valid.\n" + WITH_KEY, 1),
        (
            "none",
            "",
            "An API key or token is required; send it as 'Authorization: Bearer …'.\n" + WITH_KEY,
            1,
        ),
        (
            "strange",
            "",
            "STREAMSVC_KEY: found other characters than those of a key (not shown)\n",
            2,
        ),
    ],
)
async def test_key_comes_from_the_environment(
    tmp_path: Path, serve: Serve, of_shell: str, printed: str, sentence: str, code: int
) -> None:
    """Arguments of a command are seen by every user of the machine."""
    keys = KeysFile(tmp_path / "keys.toml")
    key = {"right": keys.add("team"), "wrong": "ssk_a_b", "none": "", "strange": "schlüssel\n"}
    fake = FakeSettings(text="one two", words_per_second=0, first_word_seconds=0)
    service = await serve(guarded(Settings(providers={"fake": fake}), keys))
    environ = {"STREAMSVC_KEY": key[of_shell]}
    async with started(tmp_path, "ask", "--url", service.url, "hello", environ=environ) as process:
        await read_until(process, printed)
        assert await errors_of(process) == sentence
        assert await process.wait() == code


@pytest.mark.promise("input:clear-error")
def test_no_service_prints_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    result = run(tmp_path, "ask", "--url", url, "hello")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"Nothing is listening at {url}. Start the service with `streamsvc serve`, or use --direct.\n"
    )


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("url", ["localhost:8000", "http://a:b"])
def test_invalid_url_is_refused(tmp_path: Path, url: str) -> None:
    result = run(tmp_path, "ask", "--url", url, "hello")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"--url: found {url!r}; accepted: an http:// or https:// URL\n"


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: hi\n\n",
            "\nThe server at {} is not streamsvc.\n",
        ),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "Expected a stream, but got HTTP 404.\n",
        ),
        (b"", "\nThe connection to {} broke (RemoteProtocolError).\n"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Generation-Id: a\r\n\r\n",
            "\nThe answer broke off.\n",
        ),
    ],
    ids=["another event stream", "another service", "a hang-up", "a cut"],
)
async def test_unexpected_answer_gives_no_traceback(
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
