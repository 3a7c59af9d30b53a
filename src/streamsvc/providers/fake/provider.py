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

from streamsvc.config.provider_settings import FakeSettings, FaultName
from streamsvc.eventloop import now
from streamsvc.events import Delta, Logprobs, Reasoning, Usage
from streamsvc.messages import Prompt, count_words
from streamsvc.provider_errors import ProviderError, UpstreamCut
from streamsvc.providers.base import Finish, Provider
from streamsvc.providers.fake.answer import script_for
from streamsvc.providers.fake.faults import Call, play
from streamsvc.providers.fake.script import perform, turn_for
from streamsvc.providers.fake.steps import Pace, Silence, Step
from streamsvc.script import ScriptStep


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
        pacer = _Pacer(self._settings, prompt)
        tokens = thoughts = 0
        for step in self._steps(prompt):
            match step:
                case ProviderError():
                    raise step
                case Silence(seconds):
                    await anyio.sleep(seconds)
                    pacer.put_off(seconds)
                case Pace(words_per_second):
                    pacer.words_per_second = words_per_second
                case Finish(usage=given):
                    counted = Usage(
                        input_tokens=count_words(prompt),
                        output_tokens=tokens,
                        reasoning_tokens=thoughts or None,
                    )
                    return msgspec.structs.replace(step, usage=given or counted)
                case Logprobs():
                    emit(step)
                case delta:
                    await anyio.sleep_until(pacer.next())
                    tokens += 1
                    thoughts += isinstance(delta, Reasoning)
                    emit(delta)
        raise UpstreamCut

    def _steps(self, prompt: Prompt) -> Iterable[Step]:
        """Return the steps of one call: the deltas, as changed by the fault."""
        settings = self._settings
        call = Call(
            number=prompt.call,
            answer=partial(self._answer, prompt),
            after_words=settings.fault_after_words,
            seconds=settings.fault_seconds,
            age_seconds=now() - self._opened_at,
        )
        if prompt.fault and settings.allow_faults:
            return play(cast("FaultName", prompt.fault), call)
        return play(settings.fault, call)

    def _answer(self, prompt: Prompt, preface: str) -> Iterator[Step]:
        """Yield a complete answer: of the request's script, of the entry's, or without one."""
        settings = self._settings
        script = (prompt.script if settings.allow_faults else ()) or settings.script
        if not script:
            steps = script_for(prompt, settings, preface)
            return perform(steps, prompt, max_tokens=prompt.max_tokens)
        begin = (ScriptStep(words=preface),) if preface else ()
        return perform((*begin, *turn_for(script, prompt)), prompt)


class _Pacer:
    """Says when each word is due, on the event loop's clock, so that delays do not add up.

    Attributes:
        words_per_second: the pace; 0 is as fast as possible.
    """

    def __init__(self, settings: FakeSettings, prompt: Prompt) -> None:
        self.words_per_second = settings.words_per_second
        self._settings = settings
        seed = settings.seed if prompt.seed is None else prompt.seed
        self._draw = random.Random(seed)  # noqa: S311  # repeatable on purpose, not a secret
        self._due: float | None = None

    def next(self) -> float:
        """Return when the next word is due. Time starts with the first one."""
        if self._due is None:
            self._due = now() + self._settings.first_word_seconds
        elif self.words_per_second:
            jitter = self._settings.jitter * self._draw.uniform(-1, 1)
            self._due += (1 + jitter) / self.words_per_second
        return self._due

    def put_off(self, seconds: float) -> None:
        """Let everything that follows be due later."""
        if self._due is not None:
            self._due += seconds
