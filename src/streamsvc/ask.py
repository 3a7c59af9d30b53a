"""`streamsvc ask`: asks one question and prints the answer as it arrives.

Ctrl-C stops the call to the provider, and a line says so; closing the output pipe stops it silently. With
`--direct`, the service's engine runs in this process, with the same deadlines and the same clean-up.
"""

import logging
import sys
from collections.abc import Mapping
from http import HTTPStatus

import anyio
import httpx2
import msgspec

from streamsvc.config.file import KEY_VARIABLE
from streamsvc.config.settings import Settings
from streamsvc.engine.admission import Unlimited
from streamsvc.engine.directory.memory import MemoryDirectory
from streamsvc.engine.supervisor import Supervisor
from streamsvc.errors import RequestError
from streamsvc.eventlog.base import live_records
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.events import (
    Done,
    Event,
    Progress,
    Reasoning,
    Refusal,
    Restart,
    Status,
    Text,
    ToolCallReady,
)
from streamsvc.hooks import Hooks
from streamsvc.messages import GenerationRequest, Prompt, UserMessage
from streamsvc.providers.registry import ProviderRegistry

STOP_SECONDS = 3.0
"""How long Ctrl-C waits for the service to confirm the stop."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def ask_service(url: str, question: str, *, provider: str | None, key: str = "") -> int:
    """Ask a running service; return the exit code.

    Args:
        url: of the service.
        question: the prompt.
        provider: a provider entry; None: the service's.
        key: an API key or a token; "" if the service asks for none.
    """
    if not (key.isascii() and key.isprintable()):
        _say(f"{KEY_VARIABLE}: found other characters than those of a key (not shown)")
        return EXIT_USAGE
    authorization = {"Authorization": f"Bearer {key}"} if key else {}
    body = {"prompt": question, **({"provider": provider} if provider else {})}
    timeout = httpx2.Timeout(60.0, connect=5.0)
    try:
        with httpx2.Client(base_url=url, timeout=timeout, headers=authorization) as client:
            return _follow_or_stop(client, body)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
        _say(f"--url: found {url!r}; accepted: an http:// or https:// URL")
        return EXIT_USAGE
    except (httpx2.ConnectError, httpx2.ConnectTimeout):
        _say(
            f"Nothing is listening at {url}. Start the service with `streamsvc serve`, or use --direct."
        )
    except httpx2.HTTPError as exc:
        _say(f"\nThe connection to {url} broke ({type(exc).__name__}).")
    except msgspec.DecodeError:
        _say(f"\nThe server at {url} is not streamsvc.")
    return EXIT_FAILED


def _follow_or_stop(client: httpx2.Client, body: Mapping[str, str]) -> int:
    """Print the answer; leaving early stops it at once, without a grace period."""
    generation: list[str] = []
    try:
        return _follow(client, body, generation)
    except KeyboardInterrupt:
        if not generation:
            _say("\nStopped before the answer began.")
        elif _stop(client, generation):
            _say("\nStopped: the service has closed the call to the provider.")
        else:
            _say("\nDisconnected, but the service did not confirm that it stopped.")
        raise
    except BrokenPipeError:
        _stop(client, generation)
        raise


def _stop(client: httpx2.Client, generation: list[str]) -> bool:
    """Stop the generation, if it has started; return whether the service confirmed it."""
    try:
        for one in generation:
            path = f"/v1/generations/{one}/stop"
            client.post(path, timeout=STOP_SECONDS).raise_for_status()
    except httpx2.HTTPError:
        return False
    return True


def _follow(client: httpx2.Client, body: Mapping[str, str], generation: list[str]) -> int:
    headers = {"Accept": "text/event-stream"}
    with client.stream("POST", "/v1/generations", json=body, headers=headers) as response:
        if not response.is_success:
            _say(_detail(response))
            if response.status_code == HTTPStatus.UNAUTHORIZED:
                _say(f"`streamsvc ask` sends the key that is in {KEY_VARIABLE}.")
            return EXIT_FAILED
        generation += response.headers.get_list("X-Generation-Id")
        for block in httpx2.EventSource(response):
            event = msgspec.json.decode(block.data, type=Event)
            if isinstance(event, Done):
                return _end(event)
            _print(event)
    _say("\nThe answer broke off.")
    return EXIT_FAILED


def _detail(response: httpx2.Response) -> str:
    try:
        return str(msgspec.json.decode(response.read())["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"Expected a stream, but got HTTP {response.status_code}."


def ask_provider(
    settings: Settings, environ: Mapping[str, str], question: str, *, provider: str | None
) -> int:
    """Ask a provider without a service; return the exit code."""
    name = provider or settings.provider
    request = GenerationRequest(prompt=Prompt(messages=(UserMessage(question),)), provider=name)
    # The engine's log lines are for operators; here a sentence on standard error takes their place.
    logging.getLogger("streamsvc").addHandler(logging.NullHandler())
    try:
        return anyio.run(_ask_directly, settings, environ, request)
    except KeyboardInterrupt:
        _say(f"\nStopped: the call to {name} is closed.")
        return EXIT_INTERRUPTED
    except RequestError as exc:
        _say(exc.message)
        return EXIT_FAILED


async def _ask_directly(
    settings: Settings, environ: Mapping[str, str], request: GenerationRequest
) -> int:
    log = MemoryEventLog(settings.generations)
    directory = MemoryDirectory(log, settings)
    async with (
        ProviderRegistry(settings.providers, environ) as providers,
        Supervisor(
            providers=providers,
            log=log,
            directory=directory,
            limiter=Unlimited(),
            hooks=Hooks(),
            settings=settings,
        ) as supervisor,
    ):
        generation = await supervisor.create(request)
        with supervisor.viewer(generation):
            async for record in live_records(log, generation):
                if isinstance(record.event, Done):
                    return _end(record.event)
                _print(record.event)
        return EXIT_FAILED  # a log ends in its `Done`


def _print(event: Event) -> None:
    """Print the text; everything else goes to standard error, so that the answer can be piped."""
    match event:
        case Text(text=text) | Refusal(text=text):
            print(text, end="", flush=True)
        case Reasoning(text=text):
            print(text, end="", flush=True, file=sys.stderr)
        case Progress(state=state, provider=provider, reason=reason):
            _say(f"[{reason}: {'retrying' if state == 'retrying' else 'switching to'} {provider}]")
        case Restart(reason=reason, provider=provider):
            print(flush=True)
            _say(f"[{reason}: {provider} starts over with a different answer]")
        case ToolCallReady(name=name, arguments=arguments):
            _say(f"[the model calls the tool {name} with {arguments}]")
        case _:
            pass


def _end(done: Done) -> int:
    print(flush=True)
    if done.status is Status.COMPLETED:
        return 0
    _say(done.error.message if done.error else f"The answer is incomplete: {done.finish_reason}.")
    return EXIT_FAILED


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
