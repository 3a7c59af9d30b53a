"""`streamsvc ask`: one question, its words printed as they come.

Ctrl-C stops the call to the provider, and says so.
"""

import sys
from collections.abc import Mapping

import anyio
import httpx2
import msgspec

from streamsvc.errors import ProviderError, RequestError
from streamsvc.events import Done, Event, Reasoning, Start, Text
from streamsvc.messages import Message, Prompt
from streamsvc.providers.base import Finish
from streamsvc.providers.registry import ProviderRegistry
from streamsvc.settings import Settings

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

_COMPLETE = frozenset({"stop", "tool_calls"})


def ask_service(url: str, question: str, *, provider: str | None) -> int:
    """Ask a running service; return the exit code."""
    body = {"prompt": question, **({"provider": provider} if provider else {})}
    timeout = httpx2.Timeout(60.0, connect=5.0)
    with httpx2.Client(base_url=url, timeout=timeout) as client:
        generation: list[str] = []
        try:
            return _follow(client, body, generation)
        except KeyboardInterrupt:
            if generation:
                client.post(f"/v1/generations/{generation[0]}/stop")
            _say("\nStopped: the service has closed the call to the provider.")
            return EXIT_INTERRUPTED
        except httpx2.ConnectError:
            _say(
                f"Nothing answers at {url}. Start it with `streamsvc serve`, or ask with --direct."
            )
        except httpx2.HTTPError as exc:
            _say(f"\nThe connection to {url} broke ({type(exc).__name__}).")
    return EXIT_FAILED


def _follow(client: httpx2.Client, body: Mapping[str, str], generation: list[str]) -> int:
    headers = {"Accept": "text/event-stream"}
    with client.stream("POST", "/v1/generations", json=body, headers=headers) as response:
        if not response.is_success:
            _say(_detail(response))
            return EXIT_FAILED
        generation.append(response.headers["X-Generation-Id"])
        for block in httpx2.EventSource(response):
            event = msgspec.json.decode(block.data, type=Event)
            if isinstance(event, Done):
                return _end(event.finish_reason, event.error.message if event.error else None)
            _print(event)
    _say("\nThe answer broke off.")
    return EXIT_FAILED


def _detail(response: httpx2.Response) -> str:
    try:
        return str(msgspec.json.decode(response.read())["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"The answer is no stream, but HTTP {response.status_code}."


def ask_provider(
    settings: Settings, environ: Mapping[str, str], question: str, *, provider: str | None
) -> int:
    """Ask a provider without a service; return the exit code."""
    name = provider or settings.provider
    try:
        return anyio.run(_ask_directly, settings, environ, name, question)
    except KeyboardInterrupt:
        _say(f"\nStopped: the call to {name} is closed.")
        return EXIT_INTERRUPTED
    except (ProviderError, RequestError) as exc:
        _say(exc.message)
        return EXIT_FAILED


async def _ask_directly(
    settings: Settings, environ: Mapping[str, str], name: str, question: str
) -> int:
    prompt = Prompt(messages=(Message("user", question),))
    async with ProviderRegistry(settings.providers, environ) as providers:
        opened = await providers.get(name)
        async with opened.generate(prompt) as deltas:
            async for delta in deltas:
                if isinstance(delta, Finish):
                    return _end(delta.reason, None)
                _print(delta)
    return EXIT_FAILED


def _print(event: Start | Text | Reasoning) -> None:
    """Show the words; thinking goes to standard error, so that the answer can be piped."""
    if isinstance(event, Text):
        print(event.text, end="", flush=True)
    elif isinstance(event, Reasoning):
        print(event.text, end="", flush=True, file=sys.stderr)


def _end(reason: str, error: str | None) -> int:
    print(flush=True)
    if reason in _COMPLETE:
        return 0
    _say(error or f"The answer is not complete: {reason}.")
    return EXIT_FAILED


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
