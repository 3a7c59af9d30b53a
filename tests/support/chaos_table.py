"""What the tests of `tests/scale` have measured, and the tables of it in `docs/operate/scale.md`.

With `WRITE_CHAOS=1` they write it to `chaos.json`, and `uv run just tables` puts it into the page. Without, they compare
what must be the same in each run: words, ids and provider calls.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from support.chaos import ROWS, Row

MEASURED = Path(__file__).with_name("chaos.json")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a row.

    Attributes:
        lost: how many words the worst page lacks.
        doubled: how many words the worst page has too often.
        doubtful: under how many ids pages have seen different events.
        calls: how many calls the provider got.
        here: the longest silence at a page on the producer's worker, in seconds: no word, no end, no lost connection.
        there: the same elsewhere.
        pause: the longest time without a new word, in seconds.
    """

    lost: int
    doubled: int
    doubtful: int
    calls: int
    here: float
    there: float
    pause: float

    @property
    def exact(self) -> tuple[int, int, int, int]:
        """What must be the same in each run."""
        return self.lost, self.doubled, self.doubtful, self.calls


@dataclass(frozen=True, kw_only=True)
class Event:
    """What came of live streams while workers ended.

    Attributes:
        streams: how many there were.
        lost: how many words the worst page lacks.
        doubled: how many words the worst page has too often.
        calls: how many provider calls it took.
        pause: the longest time without a new word, in seconds.
    """

    streams: int
    lost: int
    doubled: int
    calls: int
    pause: float


def measured(table: str) -> Mapping[str, Any]:
    """Return what the latest run with `WRITE_CHAOS=1` has measured for a table."""
    values: Mapping[str, Any] = json.loads(MEASURED.read_text())[table]
    return values


def committed() -> Mapping[str, Result]:
    """Return the rows of the chaos table."""
    values = measured("chaos")
    return {name: Result(**values[name]) for name in ROWS if name in values}


def note(table: str, values: Mapping[str, Result | Event]) -> None:
    """Write what has been measured for a table, if this run is to do so."""
    if os.environ.get("WRITE_CHAOS") != "1":
        return
    everything = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    everything.setdefault(table, {}).update(
        {name: _rounded(asdict(value)) for name, value in values.items()}
    )
    MEASURED.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n")


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in values.items()}


# The tables

_CHAOS = (
    "what fails",
    "words lost",
    "words doubled",
    "ids with two events",
    "provider calls",
    "viewers of its worker know after",
    "viewers elsewhere know after",
    "longest pause in the words",
    "log lines, `/readyz`",
)

_RESTART = (
    "under 200 live streams on two workers",
    "words lost",
    "words doubled",
    "provider calls for them",
    "longest pause in the words",
)

_EVENTS = {
    "killed": "a worker is killed (`kill -9`)",
    "restarted": "all workers are restarted (`SIGUSR2`, `drain_seconds = 1`)",
}


def chaos() -> str:
    """Return the rows as a table in Markdown."""
    return _table(_CHAOS, (_row(ROWS[name], result) for name, result in committed().items()))


def restart() -> str:
    """Return what happens to many streams as a table in Markdown."""
    events = {name: Event(**values) for name, values in measured("restart").items()}
    return _table(
        _RESTART,
        (
            (_EVENTS[name], f"{it.lost}", f"{it.doubled}", f"{it.calls}", f"{it.pause:.1f} s")
            for name, it in events.items()
        ),
    )


def _row(row: Row, result: Result) -> tuple[str, ...]:
    numbers = [str(number) for number in result.exact]
    seconds = [f"{value:.1f} s" for value in (result.here, result.there, result.pause)]
    return (row.words, *numbers, *seconds, "; ".join(_said(row)))


def _said(row: Row) -> Iterator[str]:
    for name, worker in (("here", "its worker"), ("there", "the other")):
        said = [f"`{line}`" for line in row.logged.get(name, ())]
        said += [f"`{row.says[name]}`"] if name in row.says else []
        if said:
            yield f"{worker}: {', '.join(said)}"


def _table(headings: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
