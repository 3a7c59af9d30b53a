"""What can go wrong between this client and a server. The adapters map these errors once.

TransportError
├── UnusableEndpoint    requests cannot be sent like this
├── ConnectFailed       no connection
├── ConnectTimedOut     no connection before the deadline
├── NoResponse          the connection failed before the end of a response head
├── BodyCut             it failed within the body
└── LineTooLong         a line of an event stream exceeds the bound
"""


class TransportError(Exception):
    """The base of all errors of this package. `__cause__` is the operating system's or the parser's error, if any."""


class UnusableEndpoint(TransportError):
    """Requests cannot be sent like this: a header with a control character, an unsupported proxy."""


class ConnectFailed(TransportError):
    """No connection: the name, TCP, the proxy or TLS failed."""


class ConnectTimedOut(TransportError):
    """No connection within `connect_seconds`."""


class NoResponse(TransportError):
    """The connection failed before the end of a final response head (RFC 9112, section 2.1).

    Attributes:
        has_begun: whether at least one byte of a response, even an interim one, had arrived.
    """

    def __init__(self, *, has_begun: bool) -> None:
        super().__init__()
        self.has_begun = has_begun


class BodyCut(TransportError):
    """The connection failed, or broke the protocol, before the end of the body."""


class LineTooLong(TransportError):
    """A line of an event stream, or the lines of one of its blocks, exceed the bound."""
