"""The words of the fake provider: what it says, and how a text is cut into words."""

import re
from collections.abc import Iterable, Iterator

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

_ASKS_FOR_MARKDOWN = re.compile(r"\bmarkdown\b", re.IGNORECASE)

_MARKDOWN_REPLY = '''\
## What Markdown can do

Words can be **strong**, *emphasized*, ~~struck out~~ or `code`, and [link to a page](https://example.com/).

1. Lists have numbers,
   - or points,
   - also inside each other.
2. Tasks have boxes:
   - [x] write a list
   - [ ] read it

| Language | First word |
|:---------|-----------:|
| English  |      hello |
| French   |    bonjour |

> A quotation, with a formula: \\(e^{i\\pi} + 1 = 0\\)

```python
def greet(name: str) -> str:
    """Return a greeting."""
    return f"Hello, {name}!"
```

---

These words come from the fake provider: no model was asked.
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


def reply_to(question: str) -> str:
    """Return a canned answer that fits the question; empty if none fits."""
    if _ASKS_FOR_MARKDOWN.search(question):
        return _MARKDOWN_REPLY
    if _ASKS_FOR_CODE.search(question):
        return _CODE_REPLY
    return _PROSE_REPLY if _ASKS_FOR_PROSE.search(question) else ""


def words(text: str) -> Iterator[str]:
    """Split *text* into words that keep their spaces; joined, they are *text* again."""
    return (match[0] for match in _WORD.finditer(text))


def before_stop(text: str, stop: Iterable[str]) -> str:
    """Apply stop sequences, as a model would."""
    ends = [at for sequence in stop if (at := text.find(sequence)) >= 0]
    return text[: min(ends)] if ends else text
