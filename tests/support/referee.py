"""The sixteen faults of a public failover benchmark, and what callers get with three sets of deadlines.

All times, deadlines and stalls alike, are a fifth of those in the benchmark. `test_referee` plays the rows against a
real process, and `uv run just tables` writes them to `docs/reference/faults.md`.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import anyio

from support.upstreams import (
    CLOSE,
    HEAD,
    HOLD,
    RESET,
    USAGE,
    Call,
    Exchange,
    Script,
    Step,
    finish,
    raw,
    status,
)

SCALE = 5
"""How many times faster than in the benchmark everything runs."""

WORDS = tuple(f"word{number} " for number in range(1, 61))
"""The text of every healthy answer, in sixty tokens."""

TOKEN_SECONDS = 0.015

Column = Literal["ten", "default", "thirty"]
Answerer = Literal["primary", "fallback", "nobody", "both"]

DEADLINES: Mapping[Column, tuple[float, float]] = {
    "ten": (10.0, 10.0),
    "default": (45.0, 30.0),
    "thirty": (30.0, 30.0),
}
"""`first_token_seconds` and `idle_seconds` of each column, before they are scaled."""

HEADINGS: Mapping[Column, str] = {
    "ten": "`first_token_seconds = 10`, `idle_seconds = 10`",
    "default": "the defaults (45 and 30)",
    "thirty": "both 30",
}


def scaled(seconds: float) -> float:
    """Return the time here for a time in the benchmark."""
    return seconds / SCALE


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault.

    Attributes:
        id: its id in the benchmark.
        words: what the primary does.
        script: returns the script of a call, from its number, from 1, and the seconds since the first call.
        answerer: the provider that answers; by column if the columns differ.
        calls: the least and the most calls to the primary.
        most_seconds: the longest wait of the caller, in the benchmark's time.
        gap_seconds: the shortest pause before the second call to the primary.
    """

    id: str
    words: str
    script: Callable[[int, float], Script]
    answerer: Answerer | Mapping[Column, Answerer]
    calls: tuple[int, int]
    most_seconds: float
    gap_seconds: float = 0.0

    def answerer_with(self, column: Column) -> Answerer:
        """Return the provider that answers with the deadlines of a column."""
        return self.answerer if isinstance(self.answerer, str) else self.answerer[column]


def emit(first: int, last: int) -> Step:
    """Send the words with the numbers from *first* to *last*, at the benchmark's pace."""

    def tokens(to: Exchange) -> Iterator[bytes]:
        return map(to.call.wire.token, WORDS[first - 1 : last])

    return lambda to: to.send_tokens(tokens(to), gap_seconds=scaled(TOKEN_SECONDS))


def pause(seconds: float) -> Step:
    return lambda _: anyio.sleep(scaled(seconds))


async def _finish_without_done(to: Exchange) -> None:
    await to.send(to.call.wire.finish("stop", USAGE).removesuffix(b"data: [DONE]\n\n"))


def _error(code: int, word: str) -> Step:
    return status(code, {"error": {"message": f"{word}.", "type": "error", "code": word}})


WELL: Script = (emit(1, 60), finish())
_CUT: Script = (emit(1, 40), CLOSE)
_PREFILL: Script = (_error(400, "prefill_not_supported"),)
OUTAGE_SECONDS = 60.0


def always(*script: Step) -> Callable[[int, float], Script]:
    return lambda _call, _at: script


def once(*script: Step) -> Callable[[int, float], Script]:
    return lambda call, _at: script if call == 1 else WELL


def for_a_while(*script: Step) -> Callable[[int, float], Script]:
    return lambda _call, at: script if at < scaled(OUTAGE_SECONDS) else WELL


REFUSED: Script = (_error(503, "overloaded"),)
BY_PATIENCE: Mapping[Column, Answerer] = {
    "ten": "fallback",
    "default": "primary",
    "thirty": "primary",
}

ROWS = (
    Row(
        id="S01",
        words="429 with `Retry-After: 2`, once",
        script=once(status(429, headers={"Retry-After": str(scaled(2))})),
        answerer="primary",
        calls=(2, 2),
        most_seconds=20,
        gap_seconds=2,
    ),
    Row(
        id="S02",
        words="429 without `Retry-After`, every time",
        script=always(status(429)),
        answerer="fallback",
        calls=(1, 6),
        most_seconds=40,
    ),
    Row(
        id="S03",
        words="500, once",
        script=once(status(500)),
        answerer="primary",
        calls=(2, 2),
        most_seconds=20,
    ),
    Row(
        id="S04",
        words="503, every time",
        script=always(*REFUSED),
        answerer="fallback",
        calls=(1, 6),
        most_seconds=40,
    ),
    Row(
        id="S05",
        words="The connection is reset before the head of an answer, once",
        script=once(RESET),
        answerer="primary",
        calls=(2, 2),
        most_seconds=20,
    ),
    Row(
        id="S06",
        words="The request is taken, and nothing answers",
        script=always(HOLD),
        answerer="fallback",
        calls=(1, 1),
        most_seconds=100,
    ),
    Row(
        id="S07",
        words="The head comes at once, the first token after 20 s",
        script=always(HEAD, pause(20), *WELL),
        answerer=BY_PATIENCE,
        calls=(1, 1),
        most_seconds=60,
    ),
    Row(
        id="S08",
        words="The answer is cut after 40 of 60 tokens, each time",
        script=always(*_CUT),
        answerer="fallback",
        calls=(1, 3),
        most_seconds=40,
    ),
    Row(
        id="S09",
        words="Silence for 30 s after 20 tokens, then the connection is closed",
        script=always(emit(1, 20), pause(30), CLOSE),
        answerer="fallback",
        calls=(1, 1),
        most_seconds=45,
    ),
    Row(
        id="S10",
        words="The tenth chunk is not JSON, each time",
        script=always(emit(1, 9), raw(b'data: {"choices": [{"delta"\n\n'), emit(10, 60), finish()),
        answerer="fallback",
        calls=(1, 3),
        most_seconds=30,
    ),
    Row(
        id="S11",
        words="Complete, but without `[DONE]`",
        script=always(emit(1, 60), _finish_without_done),
        answerer="primary",
        calls=(1, 1),
        most_seconds=8,
    ),
    Row(
        id="S12",
        words="400: the input is longer than the model can read",
        script=always(_error(400, "context_length_exceeded")),
        answerer="fallback",
        calls=(1, 1),
        most_seconds=20,
    ),
    Row(
        id="S13",
        words="400: a content filter refuses the prompt",
        script=always(_error(400, "content_policy_violation")),
        answerer="nobody",
        calls=(1, 1),
        most_seconds=20,
    ),
    Row(
        id="S14",
        words="As S08, and the fallback refuses to continue a text",
        script=always(*_CUT),
        answerer="fallback",
        calls=(1, 3),
        most_seconds=40,
    ),
    Row(
        id="S15",
        words="503 for a minute, then well; a question every 4 s",
        script=for_a_while(*REFUSED),
        answerer="both",
        calls=(6, 60),
        most_seconds=30,
    ),
    Row(
        id="S16",
        words="503, every time: the answer names its provider, with usage",
        script=always(*REFUSED),
        answerer="fallback",
        calls=(1, 6),
        most_seconds=40,
    ),
)


def fallback_script(call: Call) -> Script:
    """Return the script of the fallback: the answer, unless the request asks it to continue a text."""
    is_prefilled = call.body["contents"][-1]["role"] == "model"
    return _PREFILL if is_prefilled else WELL


# The table in docs/reference/faults.md

_CELLS: Mapping[Answerer, str] = {
    "primary": "answered by the provider",
    "fallback": "answered by the fallback",
    "nobody": "400 with the reason; no other provider is called",
    "both": "answered by the fallback, then by the provider",
}


def table() -> str:
    """Return the rows as a table in Markdown."""
    lines = [
        f"| | fault | {' | '.join(HEADINGS.values())} |",
        f"| {' | '.join(itertools.repeat('---', 2 + len(HEADINGS)))} |",
        *(f"| {row.id} | {row.words} | {' | '.join(_cells(row))} |" for row in ROWS),
        f"| | | {' | '.join(map(_sum, HEADINGS))} |",
    ]
    return "\n".join(lines) + "\n"


def is_waited_for(row: Row, column: Column) -> bool:
    """Return whether the caller waits although the benchmark expects a call to the fallback."""
    return row.answerer is BY_PATIENCE and row.answerer_with(column) == "primary"


def _cells(row: Row) -> Iterator[str]:
    for column in HEADINGS:
        cell = _CELLS[row.answerer_with(column)]
        yield f"waited for; {cell}" if is_waited_for(row, column) else cell


def _sum(column: Column) -> str:
    return f"{sum(not is_waited_for(row, column) for row in ROWS)} of {len(ROWS)}"
