"""What tests of the pages in `docs/guides` share: a service, and waiting for what a page shows."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import anyio
import msgspec
from playwright.async_api import Page

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import CorsSettings, GenerationSettings, Settings, StreamSettings
from support.service import Service, serving
from support.upstreams import OPENAI, finish, text, upstream
from support.upstreams import until as until_set

TEXT = " ".join(f"word{number}" for number in range(20)) + " <b>😀</b>\r\n\u2028 done."
ANSWER = "answer.textContent"
OUT_OF_REACH = "The service cannot be reached, or this page's origin is not in cors.origins."


def configuration(
    origin: str,
    *,
    reply: Literal["text", "echo"] = "text",
    text: str = TEXT,
    words_per_second: float = 40,
    first_word_seconds: float = 0.1,
    first_token_seconds: float = 60,
    ping_seconds: float = 15,
    grace_seconds: float = 0,
    is_held: bool = False,
) -> Settings:
    """Return settings; a held answer stops after a few words, and does not end."""
    return Settings(
        cors=CorsSettings(origins=(origin,) if origin else ()),
        stream=StreamSettings(retry_ms=500, ping_seconds=ping_seconds),
        generations=GenerationSettings(grace_seconds=grace_seconds),
        providers={
            "fake": FakeSettings(
                reply=reply,
                text=text,
                words_per_second=words_per_second,
                first_word_seconds=first_word_seconds,
                first_token_seconds=first_token_seconds,
                fault="stall" if is_held else "none",
                fault_after_words=8,
            )
        },
    )


async def longer_than(page: Page, count: int) -> None:
    """Wait until the answer has more than *count* characters."""
    await page.wait_for_function(f"{ANSWER}.length > {count}")


@asynccontextmanager
async def ending(service: Service, outcome: str) -> AsyncIterator[None]:
    """After the block, wait for the end of the one running generation, and check its outcome."""
    [generation] = service.directory.running_here
    yield
    await generation.wait_ended()
    snapshot = (await service.client.get(f"/v1/generations/{generation.id}")).json()
    assert snapshot["outcome"] == outcome


@asynccontextmanager
async def speaking(origin: str) -> AsyncIterator[tuple[Service, anyio.Event]]:
    """Start a service whose provider sends a few words, and the rest once the event is set."""
    words = re.findall(r"\S+\s*", TEXT)
    go_on = anyio.Event()
    script = text(*words[:8]), until_set(go_on), text(*words[8:]), finish()
    async with upstream(*script) as api:
        entry = {"fake": OPENAI.entry(api.url)}
        settings = msgspec.structs.replace(configuration(origin), providers=entry)
        async with serving(settings, {}) as service:
            yield service, go_on


async def create(service: Service, **fields: object) -> str:
    answer = await service.client.post("/v1/generations", json={"prompt": "x", **fields})
    generation_id: str = answer.json()["id"]
    return generation_id


async def ask(page: Page, question: str) -> None:
    await page.fill("[name=question]", question)
    await page.click("text=Ask")
