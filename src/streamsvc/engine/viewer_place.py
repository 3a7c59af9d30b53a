"""How many viewers this process has, and the place of one whose response is being prepared."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from typing_extensions import override

from streamsvc.engine.audience import Count
from streamsvc.errors import Overloaded


class ViewerCount(Count):
    """Counts all viewers that are connected to this process."""

    def __init__(self) -> None:
        self.size = 0

    @override
    def join(self) -> None:
        self.size += 1

    @override
    def leave(self) -> None:
        self.size -= 1


class ViewerPlace(AbstractAsyncContextManager[Count | None]):
    """Keeps a place for a viewer while its response is prepared; the context is its lease, if its caller needs one.

    The response joins with a slot of its own, which has the lease, in the same step in which the context is left, so
    that the limits hold however long that takes. If the context is left by an exception, the lease ends.

    A class and not an `asynccontextmanager`, which costs a request four more calls and a generator.

    Args:
        count: of the viewers.
        most: how many there may be.
        lease: takes the lease.

    Raises:
        Overloaded: on entering, if there is no place.
        RateLimited: on entering, if the caller has as many viewers as it may have.
    """

    _lease: Count | None = None

    def __init__(
        self, count: ViewerCount, most: int, lease: Callable[[], Awaitable[Count | None]]
    ) -> None:
        self._count = count
        self._most = most
        self._take_lease = lease

    @override
    async def __aenter__(self) -> Count | None:
        if self._count.size >= self._most:
            raise Overloaded("limits.max_viewers")
        self._count.join()
        try:
            self._lease = await self._take_lease()
        except BaseException:
            self._count.leave()
            raise
        return self._lease

    @override
    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._count.leave()
        if kind is not None and self._lease is not None:
            self._lease.leave()
