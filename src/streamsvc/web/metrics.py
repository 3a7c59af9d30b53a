"""`GET /metrics`: the figures of all workers of this service, for Prometheus. Imported only if it is served."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from streamsvc.telemetry.exposition import OPENMETRICS, TEXT, Page, content_type, merged
from streamsvc.telemetry.peers import Peers
from streamsvc.telemetry.series import Series
from streamsvc.web.requests import RequestHead
from streamsvc.web.responses import NO_STORE

QUESTION = "metrics"
"""What a worker asks the others."""

_FORMATS = {"openmetrics": OPENMETRICS, "text": TEXT}
_WORDS = {kind: word for word, kind in _FORMATS.items()}


class MetricsEndpoint:
    """The endpoint, and this worker's answer to the others.

    Args:
        series: the figures of this worker.
        peers: ask all workers.
    """

    def __init__(self, series: Iterable[Series], peers: Peers) -> None:
        self._page = Page(series)
        self._peers = peers
        peers.answers[QUESTION] = self.answer

    async def answer(self, word: str, worker: str) -> bytes:
        """Return the page of this worker.

        Args:
            word: for the format.
            worker: the label of this worker.
        """
        return await self._page.write(_FORMATS[word], worker)

    async def show(self, _request: Request, head: RequestHead) -> Response:
        """`GET /metrics`: in OpenMetrics if the client takes it, else in Prometheus's older format."""
        kind = content_type(head.accept)
        pages = await self._peers.ask(QUESTION, _WORDS[kind])
        body = await merged(kind, pages)
        return Response(body, headers={**NO_STORE, "Vary": "Accept"}, media_type=kind)
