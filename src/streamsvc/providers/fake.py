"""Words without a model: deterministic, paced, no key and no network.

For integration tests of front ends, and for trying out the service. It fails in the ways that `faults` defines, if
the settings or the request ask for it.
"""

import random
import re
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
from streamsvc.events import AnswerEnd, Delta, Reasoning, Text, Usage
from streamsvc.messages import Prompt, UserMessage, texts_of, words_of
from streamsvc.providers.base import Finish, Provider
from streamsvc.providers.faults import Call, Silence, Step, play

_WORD = re.compile(r"\s*\S+\s?|\s+")
"""A word with the space after it; joined, all pieces are the text again."""

_ASKS_FOR_CODE = re.compile(
    r"\b(code|function|class|method|script|program|snippet|implement|refactor|debug|regex|algorithm"
    r"|python|javascript|typescript|java|rust|golang|html|css|sql|bash|fibonacci|quicksort)\b|```",
    re.IGNORECASE,
)

_CODE_REPLY = '''\
Here is a small function that does it:

```python
def fibonacci(count: int) -> list[int]:
    """Return the first `count` Fibonacci numbers."""
    numbers = [0, 1]
    while len(numbers) < count:
        numbers.append(numbers[-1] + numbers[-2])
    return numbers[:count]


print(fibonacci(10))
```

It runs in linear time. These words come from the fake provider: no model was asked.
'''

_ASKS_FOR_PROSE = re.compile(r"\b(explain|describe|essay|story)\b", re.IGNORECASE)

_PROSE_REPLY = """\
Nobody likes to wait ten seconds for a finished answer. A language model writes one word after another \
anyway, so a page that waits for the last of them hides the first ones for no reason.

Streaming shows each word when it is written. The answer takes as long as before, but the wait is over \
after the first few words, because people read along while the rest is on its way.

It has a second use. Readers see early that an answer goes wrong, and can stop it; closing the page \
closes the connection, and the model stops, too. Nothing is written, or paid for, that nobody reads.

These words come from the fake provider: no model was asked.
"""


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
        words = thoughts = 0
        for step in self._steps(prompt):
            match step:
                case ProviderError():
                    raise step
                case Silence(seconds):
                    await anyio.sleep(seconds)
                case Finish():
                    usage = Usage(
                        input_tokens=count_words(prompt),
                        output_tokens=words + thoughts,
                        reasoning_tokens=thoughts or None,
                    )
                    return msgspec.structs.replace(step, usage=usage)
                case delta:
                    await anyio.sleep_until(next(pace))
                    words += isinstance(delta, Text)
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

    def _answer(self, prompt: Prompt, preface: str) -> Iterator[Delta | Finish]:
        """Yield a complete answer word by word, so that long text does not block the event loop."""
        yield from map(Reasoning, words(self._settings.reasoning))
        reason: AnswerEnd = "stop"
        for number, word in enumerate(words(before_stop(preface + self._reply(prompt), prompt))):
            if number == prompt.max_tokens:
                reason = "length"
                break
            yield Text(word)
        yield Finish(reason=reason, provider_reason=reason)

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

    def _reply(self, prompt: Prompt) -> str:
        asked = (turn for turn in reversed(prompt.messages) if isinstance(turn, UserMessage))
        question = next((words_of(turn.content) for turn in asked), "")
        match self._settings.reply:
            case "echo":
                return question
            case "auto":
                return reply_to(question) or self._settings.text
            case "text":
                return self._settings.text


def reply_to(question: str) -> str:
    """Return a canned answer that fits the question; empty if none fits."""
    if _ASKS_FOR_CODE.search(question):
        return _CODE_REPLY
    return _PROSE_REPLY if _ASKS_FOR_PROSE.search(question) else ""


def words(text: str) -> Iterator[str]:
    """Split *text* into words that keep their spaces; joined, they are *text* again."""
    return (match[0] for match in _WORD.finditer(text))


def before_stop(text: str, prompt: Prompt) -> str:
    """Apply the prompt's stop sequences, as a model would."""
    ends = [at for sequence in prompt.stop if (at := text.find(sequence)) >= 0]
    return text[: min(ends)] if ends else text


def count_words(prompt: Prompt) -> int:
    """Count the prompt's tokens: for the fake provider a token is a word."""
    return sum(len(text.split()) for text in texts_of(prompt))
