"""`/operations`: what the service does now and did lately, for the person on call.

The page is static and shows nothing by itself, so it is served to everybody. What it shows comes from
`/operations/state`, which has the access rule of `/metrics` (`web/operators.py`), with one exception: it names
answers, and where no keys are configured, the name of an answer is all that one needs to read it. So `metrics.access =
"open"` opens the figures, but not this.

The page asks every two seconds while it is visible. A request for JSON, and not a stream: a stream would hold up the
end of a drain, and an operator's key does not fit into an `EventSource`. If nobody asks, nothing is computed.
"""

import os
import time
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from typing_extensions import override

from streamsvc.telemetry.overview import overview
from streamsvc.telemetry.peers import Peers
from streamsvc.telemetry.report import Report, Reporter
from streamsvc.web.operators import LOCAL, Operators
from streamsvc.web.page_files import PageFiles
from streamsvc.web.requests import RequestHead
from streamsvc.web.responses import json_response

QUESTION = "operations"
"""What a worker asks the others."""

SHARED = frozenset({"access.js", "element.js", "icon.svg", "key-dialog.js", "playground.css"})
"""The files of the playground that this page uses, too; they are served even if the playground is not."""

_PAGE = "index.html"

_decoder = msgspec.json.Decoder(Report)


class OperationsPage(PageFiles):
    """The page, its files, its state, and this worker's answer to the others.

    Args:
        reporter: knows this worker.
        peers: ask all workers.
        operators: say who may look at figures.
    """

    def __init__(self, reporter: Reporter, peers: Peers, operators: Operators) -> None:
        here = Path(__file__).parent
        super().__init__(here / "operator_static", _PAGE)
        self._shared = StaticFiles(directory=here / "static")
        self._reporter = reporter
        self._peers = peers
        self._operators = LOCAL if operators.access == "open" else operators
        peers.answers[QUESTION] = self.answer

    async def answer(self, worker: str) -> bytes:
        """Return the report of this worker.

        Args:
            worker: its name.
        """
        return msgspec.json.encode(self._reporter.report(worker))

    async def state(self, request: Request, _head: RequestHead) -> Response:
        """`GET /operations/state`: all workers together, as JSON."""
        self._operators.check(request.scope)
        answers = await self._peers.ask(QUESTION)
        reports = {worker: _decoded(text) for worker, text in answers.items()}
        return json_response(overview(reports, self._reporter.conventions, time.time()))

    async def page(self, request: Request, _head: RequestHead) -> Response:
        """`GET /operations`: the page itself."""
        return await self.page_response(request)

    @override
    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        return self._shared.lookup_path(path) if path in SHARED else super().lookup_path(path)


def _decoded(text: bytes | None) -> Report | None:
    """Return a worker's report; None if it sent none, or one of another version, as while workers are replaced."""
    try:
        return None if text is None else _decoder.decode(text)
    except msgspec.DecodeError:
        return None
