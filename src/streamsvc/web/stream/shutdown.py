"""How a stream learns that its server stops, if the server is not ours.

Importing sse_starlette replaces `uvicorn.Server.handle_exit` (seen with 3.7), for every uvicorn in the
process: SIGTERM then sets `AppStatus.should_exit` as well. Under stock uvicorn we rely on that, here
and nowhere else: it is how a stream learns of the signal. `streamsvc.server.lifecycle` overrides `handle_exit` and
never calls the replaced one, so none of this happens under our own server. Servers other than uvicorn give no
notice before they cut streams (`docs/architecture.md`).
"""

import logging

import anyio
from sse_starlette.sse import AppStatus

_POLL_SECONDS = 0.5
"""As often as the library itself checks."""

_END_SECONDS = 10.0
"""How long a stream may take to send the `done` after its generation has been ended."""


class Shutdown:
    """Lets streams end before a server other than ours cuts them.

    Args:
        drain_seconds: how long generations may continue after the signal.

    Attributes:
        begun: set when the server stops; the application then drains the supervisor.
        grace_seconds: how long a stream may continue after that.
    """

    def __init__(self, drain_seconds: float) -> None:
        self.begun = anyio.Event()
        self.grace_seconds = drain_seconds + _END_SECONDS
        # The library logs each chunk at DEBUG, and a chunk contains the model's text.
        logging.getLogger("sse_starlette").setLevel(logging.INFO)

    async def watch(self) -> None:
        """Set `begun` when the server stops: for a response that the library is not sending yet."""
        while not AppStatus.should_exit:  # noqa: ASYNC110  # the library has no event for it
            await anyio.sleep(_POLL_SECONDS)
        self.begun.set()
