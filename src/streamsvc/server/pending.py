"""The connections whose next request is not complete: each has a bounded time, and the oldest makes room.

A connection that sends nothing, or half a request, costs a descriptor and some memory. It is closed after
a time, and before that where a new client would find no room otherwise.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sized
from typing import Protocol

logger = logging.getLogger(__name__)


class PendingConnection(Protocol):
    """What can be done with such a connection."""

    def on_request_late(self) -> None:
        """Close it, with a refusal where a request has begun."""
        ...

    def abort(self) -> None:
        """Close it at once."""
        ...


class PendingConnections:
    """The connections whose next request is not complete, the one that waits longest first.

    Args:
        seconds: how long a request may take, from the opening of the connection or its first byte.
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
        """Note that a connection waits from now on."""
        self._since.pop(connection, None)
        self._since[connection] = self._now()

    def end(self, connection: PendingConnection) -> None:
        """Note that a request is complete, or the connection closed."""
        self._since.pop(connection, None)

    def drop_oldest(self) -> bool:
        """Make room for another connection; return whether there was one to drop."""
        for connection in self._since:
            self.end(connection)
            self.refusals["dropped_for_another"] += 1
            connection.abort()
            return True
        return False

    def sweep(self) -> None:
        """Close the connections whose time is over."""
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
        """Log what was refused since the last report, in one line: there may be very many."""
        if self.refusals:
            counts = " ".join(f"{code}={count}" for code, count in sorted(self.refusals.items()))
            logger.info("connections.refused %s", counts)
            self.refusals.clear()


class Room:
    """How many connections there may be.

    Args:
        connections: those there are.
        most: their bound.
        pending: those that make room for others.
    """

    def __init__(self, connections: Sized, most: int, pending: PendingConnections) -> None:
        self._connections = connections
        self._most = most
        self._pending = pending

    def admit(self, arriving: int) -> bool:
        """Tell whether there is room for one more beside those that arrive, and make some if not."""
        return len(self._connections) + arriving < self._most or self.make()

    def make(self) -> bool:
        """Drop the connection that waits longest; return whether there was one."""
        return self._pending.drop_oldest()

    def refuse(self) -> None:
        """Note that one was not admitted."""
        self._pending.refusals["no_room"] += 1
