"""The endpoints of `streamsvc demo`: which worker produces an answer, and the end of that worker.

No other command serves them, and pages of other origins may not use them, not even those that `cors.origins` lists.
"""

from typing import Protocol

import msgspec
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from streamsvc.errors import OriginRefused
from streamsvc.web.origins import Origins
from streamsvc.web.requests import RequestHead
from streamsvc.web.responses import json_response


class Producer(msgspec.Struct, frozen=True, kw_only=True):
    """Who produces an answer.

    Attributes:
        generation: the id of the answer.
        running: whether the answer has not ended. While nobody has taken over, its producer may be dead.
        epoch: how often it has been taken over.
        worker: the number of the worker, from 1; None if it is not known (yet).
        process: its process id; None likewise.
    """

    generation: str
    running: bool
    epoch: int
    worker: int | None = None
    process: int | None = None


class Producers(Protocol):
    """Finds producers, and ends their processes."""

    async def find(self, generation: str) -> Producer:
        """Return who produces an answer, or produced it last.

        Raises:
            GenerationNotFound: it never existed, or is no longer kept.
            StoreUnavailable: the store cannot be reached.
        """
        ...

    async def kill(self, producer: Producer) -> None:
        """Have a producer end like one that gets SIGKILL; nothing happens if another one has taken over.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        ...


class DemoEndpoints:
    """What the playground of a demo has in addition.

    Args:
        producers: finds and ends producers, in any process of the demo.
    """

    def __init__(self, producers: Producers) -> None:
        self._producers = producers
        self._origins = Origins(())

    async def show(self, request: Request, head: RequestHead) -> Response:
        """`GET /demo/generations/{id}`: who produces it."""
        head.check_own(request.path_params["id"])
        return json_response(await self._producers.find(request.path_params["id"]))

    async def kill(self, request: Request, head: RequestHead) -> Response:
        """`POST /demo/generations/{id}/kill`: return who produces it, then kill that process."""
        try:
            self._origins.check(head)
        except OriginRefused as exc:
            exc.message = "Only the demo's own page may kill a worker."
            exc.log_details = {"origin": exc.log_details["origin"]}  # no setting allows others
            raise
        head.check_own(request.path_params["id"])
        producer = await self._producers.find(request.path_params["id"])
        response = json_response(producer)
        if producer.running:  # after the response, which may come from that process
            response.background = BackgroundTask(self._producers.kill, producer)
        return response
