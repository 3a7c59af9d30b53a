"""Words without a model: deterministic, paced, no key and no network.

For integration tests of front ends, and for trying out the service. It fails in the ways that `faults` defines, if
the settings or the request ask for it.
"""

import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

import anyio
import msgspec
from typing_extensions import override

from streamsvc.config.settings import FakeSettings, FaultName
from streamsvc.errors import ProviderError, UpstreamCut
from streamsvc.eventloop import now
from streamsvc.events import Delta, Logprobs, Reasoning, Usage
from streamsvc.messages import Prompt, texts_of
from streamsvc.providers.base import Finish, Provider
from streamsvc.providers.fake_answer import answer
from streamsvc.providers.faults import Call, Silence, Step, play


@asynccontextmanager
async def open_provider(settings: FakeSettings, _key: str) -> AsyncIterator[Provider]:
    """Open nothing: the fake provider has no connections; see `base.OpenProvider`."""
    yield FakeProvider(settings)


class FakeProvider(Provider):
    """One provider entry of kind `fake`."""

    def __init__(self, settings: FakeSettings) -> None:
        self._settings = settings
        self._opened_at = now()

    @override
    async def generate(self, prompt: Prompt, emit: Callable[[Delta | Finish], None]) -> Finish:
        pace = self._pace(prompt)
        tokens = thoughts = 0
        for step in self._steps(prompt):
            match step:
                case ProviderError():
                    raise step
                case Silence(seconds):
                    await anyio.sleep(seconds)
                case Finish():
                    usage = Usage(
                        input_tokens=count_words(prompt),
                        output_tokens=tokens,
                        reasoning_tokens=thoughts or None,
                    )
                    return msgspec.structs.replace(step, usage=usage)
                case Logprobs():
                    emit(step)
                case delta:
                    await anyio.sleep_until(next(pace))
                    tokens += 1
                    thoughts += isinstance(delta, Reasoning)
                    emit(delta)
        raise UpstreamCut

    def _steps(self, prompt: Prompt) -> Iterable[Step]:
        """Return the steps of one call: the deltas, as changed by the fault."""
        settings = self._settings
        call = Call(
            number=prompt.call,
            answer=partial(answer, prompt, settings),
            after_words=settings.fault_after_words,
            seconds=settings.fault_seconds,
            age_seconds=now() - self._opened_at,
        )
        if prompt.fault and settings.allow_faults:
            return play(cast("FaultName", prompt.fault), call)
        return play(settings.fault, call)

    def _pace(self, prompt: Prompt) -> Iterator[float]:
        """Yield when each word is due, on the event loop's clock, so that delays do not add up.

        Time starts with the first step.
        """
        settings = self._settings
        seed = settings.seed if prompt.seed is None else prompt.seed
        draw = random.Random(seed)  # noqa: S311  # repeatable on purpose, not a secret
        gap = 1 / settings.words_per_second if settings.words_per_second else 0.0
        due = now() + settings.first_word_seconds
        while True:
            yield due
            due += gap * (1 + settings.jitter * draw.uniform(-1, 1))


def count_words(prompt: Prompt) -> int:
    """Count the prompt's tokens: for the fake provider a token is a word."""
    return sum(len(text.split()) for text in texts_of(prompt))
