"""Helpers for tests of the native API: create a generation, follow it, wait for its end."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import Settings
from streamsvc.eventlog.base import BEFORE_FIRST, LogEnded
from support.eventstream import BrowserEvent, view
from support.service import Service

ASK = "/stream-ai?prompt=hi"
CREATE = "/v1/generations"
QUESTION = {"prompt": "hi"}
STREAM = {"Accept": "text/event-stream"}
NEVER = f"gen_{'a' * 32}"
"""A well-formed id that was never issued."""

HURRIED = FakeSettings(words_per_second=0, first_word_seconds=0, text="One two three four five.")
SILENT = FakeSettings(first_word_seconds=3600)
SLOW = FakeSettings(first_word_seconds=0, words_per_second=40, text="word " * 20)


def at_once(text: str, **fields: object) -> FakeSettings:
    """Return a fake provider that answers with a text at once."""
    values: dict[str, object] = {"text": text, "words_per_second": 0, "first_word_seconds": 0}
    return msgspec.convert({"kind": "fake", **values, **fields}, FakeSettings)


def with_fake(fake: FakeSettings, **sections: object) -> Settings:
    """Return settings with one provider entry, `fake`, and further sections."""
    return Settings(providers={"fake": fake}, **sections)  # type: ignore[arg-type]


@contextmanager
def creates(service: Service, count: int) -> Iterator[None]:
    """Expect this many new generations."""
    before = len(service.log)
    yield
    assert len(service.log) - before == count


def text_of(events: list[BrowserEvent]) -> str:
    """Return the text of an answer in the native dialect."""
    return "".join(event.json["text"] for event in events if event.type == "message")


def events_of(generation: str) -> str:
    """Return the address of a generation's events."""
    return f"{CREATE}/{generation}/events"


async def follow(
    service: Service, target: str, headers: Mapping[str, str] | None = None
) -> tuple[int, list[BrowserEvent]]:
    """Read a stream to its end; return its status and events."""
    async with view(service.port, target, headers=headers) as viewer:
        events = await viewer.events()
        assert viewer.is_whole
        return viewer.status, events


async def finished(service: Service, target: str = ASK) -> tuple[str, list[BrowserEvent]]:
    """Run a generation to its end; return its id and its events."""
    async with view(service.port, target) as viewer:
        return viewer.headers["x-generation-id"], await viewer.events()


async def created(service: Service, **body: object) -> str:
    """Create a generation without a viewer."""
    response = await service.client.post(CREATE, json={**QUESTION, **body})
    assert response.status_code == 201
    return str(response.json()["id"])


async def snapshot(service: Service, generation: str) -> dict[str, Any]:
    response = await service.client.get(f"{CREATE}/{generation}")
    assert response.status_code == 200
    return dict(response.json())


async def until_finished(service: Service, generation: str) -> dict[str, Any]:
    """Wait for the end of a generation without becoming its viewer."""
    after = BEFORE_FIRST
    with suppress(LogEnded):
        while records := await service.log.read(generation, after=after, wait_seconds=10):
            after = records[-1].seq
    return await snapshot(service, generation)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition on the service holds, at most twenty seconds."""
    with anyio.fail_after(20):
        while not holds():
            await anyio.lowlevel.checkpoint()


async def until_viewers_are(service: Service, count: int) -> None:
    """Wait until the service counts this many viewers."""
    await until(lambda: service.supervisor.viewers == count)


async def until_forgotten(service: Service, generation: str) -> None:
    """Wait until a finished generation is no longer kept."""
    while (await service.client.get(f"{CREATE}/{generation}")).is_success:
        pass
