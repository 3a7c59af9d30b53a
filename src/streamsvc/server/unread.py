"""What clients have not read yet: a limit for each in the kernel, and one for all together.

A response that is complete at once, such as a long answer as JSON, waits in this process until its client reads it.
A stream waits with little: a viewer is given no more while its connection is full.
"""

import logging
import socket
from collections.abc import Iterable
from typing import Protocol

from streamsvc.log_line import log

logger = logging.getLogger(__name__)

UNSENT_BYTES = 131_072
"""How much the kernel takes for a connection before its client reads. By itself it takes 4 MB (`net.ipv4.tcp_wmem`),
which count as this process's memory in a container."""


class Unread(Protocol):
    """The part of a connection that this module uses."""

    @property
    def unread_bytes(self) -> int:
        """How much was written and not yet taken by the kernel."""
        ...

    def abort(self) -> None:
        """Drop the connection."""
        ...


def limit_unsent(listener: socket.socket) -> None:
    """Bound what the kernel takes for each connection; accepted ones inherit it (tcp(7), Linux and macOS)."""
    if (option := getattr(socket, "TCP_NOTSENT_LOWAT", None)) is not None:
        listener.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)


def drop_excess(connections: Iterable[Unread], most: int) -> None:
    """Drop the connections with most unread bytes until all together have at most *most*."""
    sizes = [(size, it) for it in connections if (size := it.unread_bytes)]
    total = sum(size for size, _ in sizes)
    if total <= most:
        return
    dropped = 0
    for size, connection in sorted(sizes, key=lambda entry: entry[0], reverse=True):
        connection.abort()
        dropped += 1
        total -= size
        if total <= most:
            break
    log(
        logger,
        logging.WARNING,
        "connections.dropped",
        reason="unread",
        count=dropped,
        setting="limits.max_total_unread_bytes",
    )
