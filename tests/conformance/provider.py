"""The providers under the conformance suite, and how a test makes each of them say something.

Settings script the fake provider; the others call a scripted upstream on a real socket.
Where an API has chunks without a token, the upstream sends them before, between and after those with one.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import anyio
import pytest
from typing_extensions import override

from streamsvc.config.provider_settings import FakeSettings, ProviderSettings
from streamsvc.events import FinishReason, Reasoning, Text
from streamsvc.messages import Prompt, ToolCall, UserMessage
from streamsvc.provider_errors import ProviderError
from streamsvc.providers.base import Finish, Provider
from streamsvc.providers.fake.text import words
from streamsvc.providers.registry import ProviderRegistry
from streamsvc.script import ScriptStep
from support.answering import Piece, answering
from support.upstreams import (
    EMPTY,
    GEMINI,
    OPENAI,
    Step,
    Upstream,
    Wire,
    calling,
    finish,
    text,
    upstream,
)
from support.upstreams import reasoning as reasoning_step

PROMPT = Prompt(messages=(UserMessage("Say it."),))


class Subject(Protocol):
    """One implementation of `Provider`."""

    name: str

    def saying(
        self, *deltas: str, reasoning: Sequence[str] = (), reason: FinishReason = "stop"
    ) -> AbstractAsyncContextManager[AsyncIterator[Piece]]:
        """Ask a model that says exactly this."""
        ...

    def calling(self, *calls: ToolCall) -> AbstractAsyncContextManager[AsyncIterator[Piece]]:
        """Ask a model that says `Wait.`, then calls tools."""
        ...


class FakeSubject(Subject):
    """The fake provider, which splits its text by itself."""

    name = "fake"

    @override
    @asynccontextmanager
    async def saying(
        self, *deltas: str, reasoning: Sequence[str] = (), reason: FinishReason = "stop"
    ) -> AsyncIterator[AsyncIterator[Piece]]:
        said = "".join(deltas)
        is_cut = reason == "length"
        settings = FakeSettings(
            reply="text",
            text=f"{said} beyond" if is_cut else said,
            reasoning="".join(reasoning),
            words_per_second=0,
            first_word_seconds=0,
        )
        bound = len(list(words(f"{said} "))) if is_cut else None
        prompt = Prompt(messages=PROMPT.messages, max_tokens=bound)
        async with opened(settings) as provider, answering(provider, prompt) as answer:
            yield answer

    @override
    @asynccontextmanager
    async def calling(self, *calls: ToolCall) -> AsyncIterator[AsyncIterator[Piece]]:
        steps = [
            ScriptStep(call=call.name, id=call.id or None, arguments=call.arguments)
            for call in calls
        ]
        script = (ScriptStep(pace=0), ScriptStep(words="Wait."), *steps)
        settings = FakeSettings(script=script, words_per_second=0, first_word_seconds=0)
        async with opened(settings) as provider, answering(provider, PROMPT) as answer:
            yield answer


class UpstreamSubject(Subject):
    """A provider and a scripted upstream that speaks its wire format."""

    def __init__(self, name: str, wire: Wire) -> None:
        self.name = name
        self.wire = wire

    @override
    @asynccontextmanager
    async def saying(
        self, *deltas: str, reasoning: Sequence[str] = (), reason: FinishReason = "stop"
    ) -> AsyncIterator[AsyncIterator[Piece]]:
        steps = [step for piece in reasoning for step in (EMPTY, reasoning_step(piece))]
        steps += [step for piece in deltas for step in (EMPTY, text(piece))]
        async with self.asked(*steps, EMPTY, finish(reason)) as (_, answer):
            yield answer

    @override
    @asynccontextmanager
    async def calling(self, *calls: ToolCall) -> AsyncIterator[AsyncIterator[Piece]]:
        steps = text("Wait."), EMPTY, calling(*calls), EMPTY, finish("tool_calls")
        async with self.asked(*steps) as (_, answer):
            yield answer

    @asynccontextmanager
    async def asked(self, *steps: Step) -> AsyncIterator[tuple[Upstream, AsyncIterator[Piece]]]:
        """Ask an upstream that plays a script."""
        async with self.open(*steps) as (api, provider), answering(provider, PROMPT) as answer:
            yield api, answer

    @asynccontextmanager
    async def open(self, *steps: Step) -> AsyncIterator[tuple[Upstream, Provider]]:
        """Open a provider whose upstream plays a script."""
        async with upstream(*steps) as api, opened(self.wire.entry(api.url)) as provider:
            yield api, provider


@asynccontextmanager
async def opened(settings: ProviderSettings) -> AsyncIterator[Provider]:
    """Open a provider from its settings, as the service does."""
    async with ProviderRegistry({"it": settings}, {}) as providers:
        yield await providers.get("it")


UPSTREAMS = UpstreamSubject("openai", OPENAI), UpstreamSubject("gemini", GEMINI)
SUBJECTS: tuple[Subject, ...] = (FakeSubject(), *UPSTREAMS)

every = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
every_upstream = pytest.mark.parametrize("subject", UPSTREAMS, ids=lambda subject: subject.name)


async def ask(provider: Provider) -> tuple[list[Piece], ProviderError | None]:
    """Ask; return the pieces of the answer, and the error that ended it, if any."""
    with anyio.fail_after(10):
        try:
            async with answering(provider, PROMPT) as answer:
                return await gather(answer)
        except ProviderError as exc:  # some providers call their API on entering
            return [], exc


async def end_of(
    subject: UpstreamSubject, *steps: Step
) -> tuple[list[Piece], ProviderError | None]:
    """Ask an upstream that plays a script; return what `ask` returns."""
    async with subject.open(*steps) as (_, provider):
        return await ask(provider)


async def gather(deltas: AsyncIterator[Piece]) -> tuple[list[Piece], ProviderError | None]:
    """Return all deltas, and the error that ended them, if any."""
    seen: list[Piece] = []
    try:
        async for delta in deltas:
            seen.append(delta)  # noqa: PERF401  # the deltas before an error count
    except ProviderError as exc:
        return seen, exc
    return seen, None


def texts(deltas: Sequence[Piece]) -> list[str]:
    """Return the pieces of the answer."""
    return [delta.text for delta in deltas if isinstance(delta, Text)]


def thoughts(deltas: Sequence[Piece]) -> list[str]:
    """Return the pieces of the reasoning."""
    return [delta.text for delta in deltas if isinstance(delta, Reasoning)]


def finishes(deltas: Sequence[Piece]) -> list[Finish]:
    """Return the finishes; there should be one."""
    return [delta for delta in deltas if isinstance(delta, Finish)]
