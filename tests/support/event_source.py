"""Pages with a native EventSource before several workers, and what they have seen together.

A page reconnects by itself, with its last id, to a random worker that accepts connections, as a load balancer would
have it. It clears its text at `start` and at `restart`, and rests at a 204.
"""

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

import anyio

from support.eventstream import BrowserEvent, wire
from support.fleet import Worker

RETRY_SECONDS = 0.5
"""How long a page waits before it reconnects, until a stream sets it."""


@dataclass
class Ledger:
    """What all pages of one answer have seen.

    Attributes:
        seen: the data of each event, by its id.
        doubtful: the ids under which pages have seen different events.
    """

    seen: dict[str, str] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)

    def enter(self, event: BrowserEvent) -> None:
        """Note an event."""
        if self.seen.setdefault(event.last_event_id, event.data) != event.data:
            self.doubtful.add(event.last_event_id)


@dataclass
class Page:
    """A page that shows one answer.

    Attributes:
        path: of the answer's events.
        workers: those that it may be connected to.
        ledger: of its answer.
        first: the worker of its first connection; None: any.
        text: what it shows.
        outcome: of the answer; "" while it runs.
        restarts: how often it had to clear its text.
        news: when a word or the `done` arrived, and when a connection ended.
        words: when a word or the `done` arrived.
    """

    path: str
    workers: Sequence[Worker]
    ledger: Ledger
    first: Worker | None = None
    text: str = ""
    outcome: str = ""
    restarts: int = 0
    news: list[float] = field(default_factory=list)
    words: list[float] = field(default_factory=list)
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _last_id: str = ""
    _retry_seconds: float = RETRY_SECONDS

    async def show(self) -> None:
        """Show the answer to its end, until a 204 says that nothing follows."""
        for worker in self._attempts():
            with suppress(OSError, EOFError):  # it is gone
                if worker is not None:
                    if await self._connect(worker):
                        return
                    self.news.append(anyio.current_time())
            await anyio.sleep(self._retry_seconds)  # as an EventSource does

    async def wait_word(self) -> None:
        """Wait for the next word, or the `done`."""
        await self._changed.wait()

    def silence(self, since: float) -> float:
        """Return for how many seconds at most the page heard nothing: no word, no end, no lost connection."""
        return longest_gap(since, self.news)

    def pause(self, since: float) -> float:
        """Return for how many seconds at most no word came, up to the end."""
        return longest_gap(since, self.words)

    def _attempts(self) -> Iterator[Worker | None]:
        """Iterate over the workers to connect to; None where none accepts connections."""
        if self.first is not None:
            yield self.first
        while True:
            accepting = [it for it in self.workers if it.is_open]
            yield random.choice(accepting) if accepting else None  # noqa: S311  # no secret

    async def _connect(self, worker: Worker) -> bool:
        """Read one connection to its end; return whether the page rests."""
        headers = {"Accept": "text/event-stream"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        async with wire(worker.port, host=worker.host) as connection:
            answer = await connection.ask("GET", self.path, headers)
            if answer.status == 204:
                return True
            assert answer.status == 200, answer.status  # else an EventSource would give up
            with suppress(EOFError):
                while True:
                    self._take(await answer.event())
                    if answer.parser.retry_ms is not None:
                        self._retry_seconds = answer.parser.retry_ms / 1000
        return False

    def _take(self, event: BrowserEvent) -> None:
        self._last_id = event.last_event_id
        self.ledger.enter(event)
        match event.type:
            case "start":
                self.text, self.outcome = "", ""
            case "restart":
                self.text = ""
                self.restarts += 1
            case "message":
                self.text += event.json["text"]
                self._note(event.at)
            case "done":
                self.outcome = event.json.get("outcome") or event.json["error"]["code"]
                self._note(event.at)
            case _:
                pass

    def _note(self, at: float) -> None:
        self.news.append(at)
        self.words.append(at)
        self._changed.set()
        self._changed = anyio.Event()


def longest_gap(since: float, times: Iterable[float]) -> float:
    """Return the longest time between two of some times, from *since* on; infinite if there is none."""
    later = [since, *sorted(it for it in times if it > since)]
    return max((after - before for before, after in pairwise(later)), default=math.inf)


def lost_and_doubled(text: str, whole: Iterable[str]) -> tuple[int, int]:
    """Return how many words of an answer a page lacks, and how many it has too often.

    Args:
        text: what the page shows.
        whole: the words of the answer, all different.
    """
    shown = Counter(text.split())
    known = Counter(word.strip() for word in whole)
    return (known - shown).total(), (shown - known).total()
