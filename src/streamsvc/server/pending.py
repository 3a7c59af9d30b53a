"""Connections whose next request is incomplete: each has a time limit, and the oldest makes room for others.

A connection that sends nothing, or half a request, costs a descriptor and some memory. It is closed after
a time, or earlier if a new client would otherwise be refused.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sized
from typing import Protocol

from streamsvc.log_line import log

logger = logging.getLogger(__name__)


class PendingConnection(Protocol):
    """The part of a connection that this module uses."""

    def on_request_late(self) -> None:
        """Close it, with a refusal if a request has begun."""
        ...

    def abort(self) -> None:
        """Close it at once."""
        ...


class PendingConnections:
    """The connections whose next request is incomplete, oldest first.

    Args:
        seconds: how long a request may take, from the opening of the connection or from its first byte.
        now: the event loop's clock.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self.refusals: Counter[str] = Counter()
        self._seconds = seconds
        self._now = now
        self._since: dict[PendingConnection, float] = {}

    def __contains__(self, connection: PendingConnection) -> bool:
        return connection in self._since

    def begin(self, connection: PendingConnection) -> None:
        """Start, or restart, the time of a connection."""
        self._since.pop(connection, None)
        self._since[connection] = self._now()

    def end(self, connection: PendingConnection) -> None:
        """Remove a connection: its request is complete, or it has closed."""
        self._since.pop(connection, None)

    def drop_oldest(self) -> bool:
        """Abort the oldest connection; return False if there is none."""
        for connection in self._since:
            self.end(connection)
            self.refusals["dropped_for_another"] += 1
            connection.abort()
            return True
        return False

    def sweep(self) -> None:
        """Close the connections whose time is over; to be called about once a second."""
        due = self._now() - self._seconds
        late = []
        for connection, since in self._since.items():
            if since > due:
                break
            late.append(connection)
        for connection in late:
            self.end(connection)
            connection.on_request_late()
        self.report()

    def report(self) -> None:
        """Log the refusals since the last report as counts in one line: with a line each, an attack could fill the log."""
        if self.refusals:
            log(logger, logging.INFO, "connections.refused", **dict(sorted(self.refusals.items())))
            self.refusals.clear()


class Room:
    """The limit on open connections.

    Args:
        connections: the open connections.
        most: the limit.
        pending: the connections that may be dropped for a new one.
    """

    def __init__(self, connections: Sized, most: int, pending: PendingConnections) -> None:
        self._connections = connections
        self._most = most
        self._pending = pending

    def admit(self, arriving: int) -> bool:
        """Return whether one more connection may open, if necessary in place of a pending one.

        Args:
            arriving: how many are accepted but not yet among the open ones.
        """
        return self.used(arriving) < self._most or self.make()

    def used(self, arriving: int) -> int:
        """Return how many connections there are, with *arriving* ones."""
        return len(self._connections) + arriving

    def make(self) -> bool:
        """Drop the oldest pending connection; return False if there is none."""
        return self._pending.drop_oldest()

    def refuse(self) -> None:
        """Count a connection that was not admitted."""
        self._pending.refusals["no_room"] += 1
