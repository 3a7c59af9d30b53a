"""The port of a connection that is written to at once and never waited for.

Our server offers each of its connections as a `Wire`, in an extension of the ASGI scope (ASGI
specification, "Extensions"): a token then costs one call, and no task wakes for it. A server that offers
none gets a stream by way of `pull`.
"""

from typing import Protocol

CONNECTION = "streamsvc.connection"
"""The extension whose value is the `Wire`."""


class Listener(Protocol):
    """What a connection reports to. Neither call waits, and neither raises."""

    def on_writable(self) -> None:
        """React to a wire that was full and has room again."""
        ...

    def on_disconnect(self) -> None:
        """React to the client's leaving, or to an `abort`; may be called more than once."""
        ...


class Wire(Protocol):
    """The connection to one client, while one answer is on its way.

    Everything is called in the event loop's thread; nothing here raises because of the client. `write`
    and `abort` may be called from within a call to the listener.

    Attributes:
        listener: is called when something happens to the connection; None while nobody listens. It is
            called from the event loop, or from within `abort`, never from within `write`.
        is_full: whether what was written still waits for the client to read. More may be written and is
            kept in order; `on_writable` follows when there is room again.
    """

    listener: Listener | None
    is_full: bool

    @property
    def is_lost(self) -> bool:
        """Whether the client has left. Once true it stays true, and writes do nothing."""
        ...

    def write(self, data: bytes) -> None:
        """Append *data*, not empty, to the body of the answer; its head has to be sent before."""
        ...

    def abort(self) -> None:
        """Drop the connection at once, with what it has not sent: the client can tell that it was cut.

        Calls the listener's `on_disconnect` before it returns, and ends every `send` that waits. `is_lost`
        is true from then on.
        """
        ...
