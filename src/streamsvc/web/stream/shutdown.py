"""How a stream learns that its server stops, where the server is not ours.

Importing sse_starlette replaces `uvicorn.Server.handle_exit` (seen with 3.7), for every uvicorn in the
process: SIGTERM then sets `AppStatus.should_exit` as well. Under stock uvicorn that is used on purpose,
here and nowhere else: it is how a stream hears of the signal. `streamsvc.server.lifecycle` overrides
`handle_exit` and never calls the replaced one, so under our own server nothing of this happens. Servers
that are not uvicorn say nothing before they cut (`docs/architecture.md`).
"""

import logging

import anyio
from sse_starlette.sse import AppStatus

_POLL_SECONDS = 0.5
"""As often as the library looks itself."""

_END_SECONDS = 10.0
"""How long a stream may take, once its generation has been ended, to send the `done`."""


class Shutdown:
    """Lets streams end before a foreign server cuts them.

    Args:
        drain_seconds: how long generations may go on after the signal.

    Attributes:
        begun: is set when the server stops; the application then drains the supervisor.
        grace_seconds: how long a stream goes on after that, at most.
    """

    def __init__(self, drain_seconds: float) -> None:
        self.begun = anyio.Event()
        self.grace_seconds = drain_seconds + _END_SECONDS
        # The library logs each chunk at DEBUG, and a chunk is what a model said.
        logging.getLogger("sse_starlette").setLevel(logging.INFO)

    async def watch(self) -> None:
        """Set `begun` when the server stops: for an answer that the library does not send yet."""
        while not AppStatus.should_exit:  # noqa: ASYNC110  # the library has no event for it
            await anyio.sleep(_POLL_SECONDS)
        self.begun.set()
