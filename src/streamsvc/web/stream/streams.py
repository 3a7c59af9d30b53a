"""Makes the streaming responses that endpoints return."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from streamsvc.config.settings import StreamSettings
from streamsvc.dialects.base import Dialect
from streamsvc.engine.audience import Count, ViewerSlot
from streamsvc.eventlog.base import EventLog
from streamsvc.hooks import Hooks
from streamsvc.web.stream.first_event import DeferredHead
from streamsvc.web.stream.response import EventStream
from streamsvc.web.stream.rounds import Rounds
from streamsvc.web.stream.shutdown import Shutdown
from streamsvc.web.stream.viewer import LogPosition

_MOST_LATE = 0.01
"""How much later than set a keepalive may come, as a share of its time, so that many viewers share a timer."""


class ViewerSlots(Protocol):
    """Makes the slot of a viewer; see `Supervisor.viewer`."""

    def __call__(self, generation_id: str, lease: Count | None = None) -> ViewerSlot:
        """Return a context that counts one viewer of a generation."""
        ...


class Streams:
    """Makes the streaming responses.

    Args:
        log: has the records.
        viewer: makes the slot that a viewer holds while it is connected.
        settings: how a stream looks.
        shutdown: how a stream learns that a server other than ours stops.
        hooks: get a report of what each viewer gets.
    """

    def __init__(
        self,
        log: EventLog,
        viewer: ViewerSlots,
        settings: StreamSettings,
        shutdown: Shutdown,
        hooks: Hooks,
    ) -> None:
        self._log = log
        self._viewer = viewer
        self._settings = settings
        self._shutdown = shutdown
        self._hooks = hooks
        self._rounds = Rounds(
            min(settings.ping_seconds, settings.send_timeout_seconds) * _MOST_LATE
        )

    def stream(  # noqa: PLR0913  # what a stream needs, passed by name
        self,
        generation: str,
        *,
        after: int,
        dialect: Dialect,
        lease: Count | None = None,
        headers: dict[str, str] | None = None,
        instead: DeferredHead | None = None,
        on_done: Callable[[], None] | None = None,
        cut_at: str = "",
    ) -> EventStream:
        """Return the response to a viewer of *generation* that has seen the records up to *after*.

        `sse.preamble` says what *cut_at* is. The response takes over the *lease* of `Supervisor.viewer_place`, and must be sent at once.
        """
        viewer = self._viewer if lease is None else partial(self._viewer, lease=lease)
        return EventStream(
            LogPosition(self._log, generation, after, viewer, cut_at),
            dialect=dialect,
            settings=self._settings,
            shutdown=self._shutdown,
            hooks=self._hooks,
            rounds=self._rounds,
            headers={**(headers or {}), "X-Generation-Id": generation},
            instead=instead,
            on_done=on_done,
        )
