"""The port of a connection that can be written to at once, without waiting.

Our server offers each of its connections as a `Wire`, in an extension of the ASGI scope (ASGI
specification, "Extensions"): a token then costs one call, and no task wakes for it. A server that offers
none gets a stream by way of `pull`.
"""

from typing import Protocol

CONNECTION = "streamsvc.connection"
"""The extension whose value is the `Wire`."""


class Listener(Protocol):
    """What a connection reports to. Neither method waits, and neither raises."""

    def on_writable(self) -> None:
        """React to a wire that was full and now has room again."""
        ...

    def on_disconnect(self) -> None:
        """React to the client's disconnect, or to an `abort`; may be called more than once."""
        ...


class Wire(Protocol):
    """The connection to one client, for one response.

    Use it only in the event loop's thread; nothing here raises because of the client. `write` and `abort`
    may be called from within a call to the listener.

    Attributes:
        listener: called when something happens to the connection; None while nobody listens. It is
            called by the event loop, or from within `abort`, never from within `write`.
        is_full: whether written data is still waiting for the client to read it. More may be written and is
            kept in order; `on_writable` follows when there is room again.
    """

    listener: Listener | None
    is_full: bool

    @property
    def is_lost(self) -> bool:
        """Whether the client has left. Once true it stays true, and writes do nothing."""
        ...

    def write(self, data: bytes) -> None:
        """Append *data*, which is not empty, to the body of the response; its head must be sent first."""
        ...

    def abort(self) -> None:
        """Drop the connection at once, with any unsent data; the client can tell that it was cut.

        Calls the listener's `on_disconnect` before it returns, and ends every `send` that waits. `is_lost`
        is true from then on.
        """
        ...
