"""The service between two upstreams that speak different APIs, and a viewer's view of it."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel

from support.eventstream import BrowserEvent, view
from support.faults.row import PROMPT
from support.faults.steps import BACKOFF_SECONDS
from support.pools import pools
from support.service import Service
from support.upstreams import GEMINI, OPENAI, Call, Upstream, Wire

WIRES: Mapping[str, Wire] = {"openai": OPENAI, "gemini": GEMINI}
OTHER_KIND = {"openai": "gemini", "gemini": "openai"}

ENTRY: Mapping[str, Any] = {
    "first_token_seconds": 5,
    "idle_seconds": 5,
    "total_seconds": 20,
    "connect_seconds": 5,
    "backoff_seconds": BACKOFF_SECONDS,
    "max_backoff_seconds": 1,
    "circuit_failures": 100,
}
"""Deadlines that a busy machine can keep, and short backoffs."""

NOTHING: Mapping[str, object] = {
    "generations": 0,
    "viewers": 0,
    "entries": [],
    "busy": 0,
    "open": 0,
}


@dataclass
class Stage:
    """The service and its two upstreams."""

    service: Service
    primary: Upstream
    fallback: Upstream

    def left(self) -> dict[str, object]:
        """Return what is still in use; idle connections in a pool do not count."""
        supervisor = self.service.supervisor
        is_open = [
            {call.connection for call in api.calls if _is_open(call)}
            for api in (self.primary, self.fallback)
        ]
        busy, idle = map(sum, zip(*pools(self.service).values(), strict=True))
        return {
            "generations": supervisor.running,
            "viewers": supervisor.viewers,
            "entries": [entry.name for entry in supervisor.entries if entry.running],
            "busy": busy,
            "open": sum(map(len, is_open)) - busy - idle,
        }

    async def rest(self) -> None:
        """Wait until nothing is in use."""
        with anyio.move_on_after(10):
            while self.left() != NOTHING:
                await anyio.lowlevel.checkpoint()
        assert self.left() == NOTHING, (self.left(), pools(self.service))


def _is_open(call: Call) -> bool:
    return call.closed_at is None and not call.hung_up


def tasks_by_kind() -> Counter[str]:
    """Count the tasks by kind; an idle connection in a pool has one at the upstream."""
    return Counter(str(task.get_coro()).split(" at ")[0] for task in asyncio.all_tasks())


async def no_more_tasks_than(before: Counter[str]) -> None:
    """Wait until all tasks that were not there before have ended."""
    with anyio.move_on_after(10):
        while tasks_by_kind() - before:
            await anyio.lowlevel.checkpoint()
    assert not tasks_by_kind() - before


@contextmanager
def address(*, backlog: int | None) -> Iterator[str]:
    """Hold an address that refuses connections, or lets them wait for ever.

    Args:
        backlog: how many connections the kernel accepts, none of which is ever served; None
            refuses all of them.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        if backlog is not None:
            listener.listen(backlog)
        if backlog == 0:
            for _ in range(2):  # Linux accepts one more than the backlog
                knocking = stack.enter_context(socket.socket())
                knocking.setblocking(False)
                knocking.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@dataclass(frozen=True)
class Seen:
    """The events that a viewer received, and when it asked."""

    asked_at: float
    events: Sequence[BrowserEvent]
    raw: bytes
    generation: str

    @property
    def done(self) -> Any:
        return self.events[-1].json


async def ask(service: Service, provider: str) -> Seen:
    """Ask, and read the answer to its end."""
    asked_at = anyio.current_time()
    with anyio.fail_after(20):
        async with view(
            service.port,
            "/v1/generations",
            method="POST",
            headers={"Accept": "text/event-stream", "Content-Type": "application/json"},
            body=json.dumps({"provider": provider, "prompt": PROMPT}).encode(),
        ) as answer:
            events = await answer.events()
    assert answer.is_whole
    first, *_, last = events
    assert first.json["type"] == "start"
    assert [event.json["type"] for event in events].count("done") == 1
    assert last.json["type"] == "done"
    assert [event.seq for event in events] == list(range(len(events)))
    return Seen(asked_at, events, bytes(answer.raw), first.json["generation"])
