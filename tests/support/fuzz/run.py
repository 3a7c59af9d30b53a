"""A run: many connections, each with its own seed, against a service in a process of its own."""

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import anyio

from support.fuzz.connection import Connection, Cut, Malformed, Response
from support.fuzz.judge import NEVER_FINE, Judge
from support.fuzz.requests import Corpus, Known, Request
from support.process import Running

CONNECTIONS = 32
ANSWER_SECONDS = 60.0
"""Bound of an answer on a busy machine."""

UNFRAMED_SECONDS = 0.05
"""How long the answer to a request is awaited that may not need one."""

STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Z]")
TICKETS = ("POST", "/v1/tickets")
MOST_FAULTS = 20
REQUESTS_PER_CONNECTION = 100


@dataclass
class Report:
    """What a run has seen.

    Attributes:
        requests: how many were sent.
        statuses: how many responses had each status.
        unanswered: how many requests that cannot be framed got no answer, or were left early.
        faults: what is wrong, with the request.
        memory_kb: the resident memory of the service, from its start on.
        descriptors: how many files and sockets the service had open before and after.
        seconds: how long it took.
    """

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    faults: list[str] = field(default_factory=list)
    memory_kb: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def blame(self, fault: str, *requests: Request) -> None:
        """Note what is wrong."""
        raw = b"".join(request.raw for request in requests)
        self.faults.append(f"{fault}: {raw[:2000]!r}")

    @property
    def is_over(self) -> bool:
        """Whether there is enough to look at."""
        return len(self.faults) >= MOST_FAULTS


class Fuzz:
    """Sends random requests to a service.

    Args:
        service: the service; it accepts these credentials.
        document: its OpenAPI document.
        total: how many requests are sent.
        seed: makes the run repeatable.
        credentials: API keys; empty: the service needs none.
        on_progress: called ten times during the run.
    """

    def __init__(
        self,
        service: Running,
        document: Mapping[str, Any],
        *,
        total: int,
        seed: int,
        credentials: tuple[str, ...] = (),
        on_progress: Callable[[Report], None] = lambda _: None,
    ) -> None:
        self._service = service
        self._document = document
        self._total = total
        self._seed = seed
        self._credentials = credentials
        self._on_progress = on_progress
        self._judge = Judge(document)
        self._known = Known()
        self.report = Report()

    async def run(self) -> Report:
        """Send all requests, wait until the service is idle, and say what was seen."""
        report = self.report
        begin = time.monotonic()
        self._measure()
        async with anyio.create_task_group() as tasks:
            for number in range(CONNECTIONS):
                tasks.start_soon(self._send, number)
        report.seconds = time.monotonic() - begin
        await self._settle()
        self._measure()
        return report

    def _measure(self) -> None:
        proc = Path(f"/proc/{self._service.process.pid}")
        found = re.search(r"VmRSS:\s+(\d+)", (proc / "status").read_text())
        self.report.memory_kb.append(int(found[1]) if found else 0)
        self.report.descriptors.append(len(list((proc / "fd").iterdir())))

    async def _settle(self) -> None:
        """Wait until nothing runs and nobody watches."""
        with anyio.fail_after(ANSWER_SECONDS):
            while True:
                state = (await self._service.client.get("/readyz")).json()
                if not (state["generations"] or state["viewers"]):
                    return

    async def _send(self, number: int) -> None:
        source = random.Random(f"{self._seed}-{number}")  # noqa: S311  # repeatable, and not a secret
        corpus = Corpus(self._document, source, self._known, self._credentials)
        while not (self._has_sent_all or self.report.is_over):
            async with await anyio.connect_tcp("127.0.0.1", self._service.port) as stream:
                await self._use(Connection(stream), corpus, source)

    @property
    def _has_sent_all(self) -> bool:
        return self.report.requests >= self._total

    async def _use(self, connection: Connection, corpus: Corpus, source: random.Random) -> None:
        """Use a connection until it cannot be used any more."""
        for _ in range(REQUESTS_PER_CONNECTION):
            if self._has_sent_all or self.report.is_over:
                return
            count = source.choice((1, 1, 1, 1, 1, 1, 1, 1, 2, 5)) if source.random() < 0.999 else 80
            requests = [corpus.request() for _ in range(count)]
            self._count(count)
            is_framed = all(request.is_framed for request in requests)
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await connection.send(b"".join(request.raw for request in requests))
                if source.random() < 0.02:
                    return  # in the middle of an answer, or before it
                if is_framed:
                    if await self._answers(connection, requests):
                        continue
                    return
                await self._anything(connection, requests)
                return
            self.report.unanswered += count
            return

    def _count(self, count: int) -> None:
        before = self.report.requests * 10 // self._total
        self.report.requests += count
        if self.report.requests * 10 // self._total > before:
            self._measure()
            self._on_progress(self.report)

    async def _answers(self, connection: Connection, requests: list[Request]) -> bool:
        """Read the answers to requests; return whether the connection can be used again."""
        for at, request in enumerate(requests):
            try:
                with anyio.fail_after(ANSWER_SECONDS):
                    response = await connection.response(is_head=request.is_head)
            except anyio.BrokenResourceError:
                # A refusal closes the connection, and what was not read yet resets it.
                self.report.unanswered += len(requests) - at
                return False
            except (Malformed, TimeoutError, anyio.EndOfStream) as exc:
                # Plain text has no other way to say that it was stopped.
                if not (isinstance(exc, Cut) and exc.media_type == "text/plain"):
                    self.report.blame(f"{type(exc).__name__} {exc}", *requests[: at + 1])
                return False
            self._see(request, response)
            if response.ends_connection:
                return False
        return True

    async def _anything(self, connection: Connection, requests: list[Request]) -> None:
        """Take what comes: the service may have taken one request for several, or for none."""
        with anyio.move_on_after(UNFRAMED_SECONDS), suppress(anyio.BrokenResourceError):
            await connection.wait()
        statuses = [int(it) for it in STATUS.findall(connection.unread)]
        self.report.statuses.update(statuses)
        self.report.unanswered += max(0, len(requests) - len(statuses))
        if faults := NEVER_FINE.intersection(statuses):
            self.report.blame(f"{faults}", *requests)

    def _see(self, request: Request, response: Response) -> None:
        self.report.statuses[response.status] += 1
        if generation := response.fields.get("x-generation-id"):
            self._known.generations.append(generation)
        if request.operation == TICKETS and response.status == HTTPStatus.CREATED:
            self._known.tickets.append(json.loads(response.body)["ticket"])
        if fault := self._judge.fault(request, response):
            self.report.blame(fault, request)
