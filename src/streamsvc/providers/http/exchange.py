"""The port between this client and its users: one response, read as it arrives."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

import anyio

from streamsvc.providers.http.errors import BodyCut

Take = Callable[[bytes], bool]
"""Gets the next bytes of a body, never empty; returns whether it wants more."""

Read = Callable[[Take], Awaitable[None]]
"""The signature of `Exchange.read`."""


class Exchange(Protocol):
    """A request that was sent, and its response, whose head has arrived.

    It has one owner, which reads it and finally calls `release` or `abort`, even when cancelled. Use it only in the
    event loop's thread.
    """

    @property
    def status(self) -> int:
        """The status code, 200 to 599; interim responses are skipped."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The fields of `connection.KEPT_FIELDS` that the response has, names in lower case."""
        ...

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx (RFC 9110, section 15.3)."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether the whole response has arrived; some of it may not have been read yet."""
        ...

    async def read(self, take: Take) -> None:
        """Pass the body to *take* as it arrives, until *take* returns False or the body ends.

        *take* is called where the bytes arrive, outside the calling task, so no task wakes for them. It gets
        all bytes in order, never empty. After `read` has returned or was cancelled, it may be called again
        and continues where it stopped.

        Raises:
            BodyCut: the body broke off; everything before that has been passed to *take*.
            Exception: what *take* raises; the body cannot be read after that.
        """
        ...

    def release(self) -> None:
        """Release the connection: keep it for the next request if possible, otherwise close it."""
        ...

    def abort(self) -> None:
        """Close the connection now, whatever its state. May be called more than once."""
        ...


async def read_bounded(read: Read, *, max_bytes: int, seconds: float) -> bytes:
    """Return a body, limited in size and time.

    A body that breaks off, takes longer or is larger ends there without an error: this is for error bodies,
    where the status says most. May return more than *max_bytes*, by the size of one read.
    """
    body = bytearray()

    def take(data: bytes) -> bool:
        body.extend(data)
        return len(body) < max_bytes

    with anyio.move_on_after(seconds), suppress(BodyCut):
        await read(take)
    return bytes(body)


async def drain(exchange: Exchange, *, seconds: float) -> None:
    """Read the rest of a body and drop it, within *seconds*, so that `release` can keep the connection."""
    if not exchange.is_complete:
        with anyio.move_on_after(seconds), suppress(BodyCut):
            await exchange.read(lambda _rest: True)
