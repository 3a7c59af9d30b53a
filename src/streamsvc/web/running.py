"""The running requests of each credential, so that they can be cut when it is revoked."""

import logging
from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TypeAlias

import anyio
from starlette.types import Scope
from typing_extensions import override

from streamsvc.log_line import log
from streamsvc.principals import Principal
from streamsvc.web.stream.wire import CONNECTION, Wire

logger = logging.getLogger(__name__)

_REQUEST = "streamsvc.request"
"""Where a scope has the request whose caller is not known yet."""

_NOT_REVOCABLE = nullcontext()
"""For a request without a credential."""


class RunningRequests:
    """The requests that run, by the credential that they came with."""

    def __init__(self) -> None:
        self._requests: _Requests = {}

    def request(self, caller: Principal, scope: Scope) -> AbstractContextManager[object]:
        """Return the context in which a request is answered.

        Args:
            caller: who makes it.
            scope: of the request.
        """
        return self._request(caller.credential, scope) if caller.credential else _NOT_REVOCABLE

    def unknown(self, scope: Scope) -> AbstractContextManager[object]:
        """Return the context in which a request is answered whose endpoint finds out who makes it (`belongs_to`).

        Args:
            scope: of the request.
        """
        request = self._request("", scope)
        scope[_REQUEST] = request
        return request

    def _request(self, credential: str, scope: Scope) -> "_Request":
        wire: Wire | None = (scope.get("extensions") or {}).get(CONNECTION)
        if wire is None:
            return _CancellableRequest(self._requests, credential)
        return _WireRequest(self._requests, credential, wire)

    def cut(self, credential: str) -> None:
        """Cut the requests that came with a credential; their clients can tell.

        Their generations end as they do when their last viewer leaves. One that goes on without viewers for a while
        does so: its principal may have another credential.
        """
        requests = [*self._requests.get(credential, ())]
        for request in requests:
            request.cut()
        if requests:
            log(logger, logging.INFO, "requests.cut", credential=credential, count=len(requests))


def belongs_to(scope: Scope, caller: Principal) -> None:
    """Say who makes a request that was `unknown`: from now on, a revocation cuts it."""
    request: _Request | None = scope.pop(_REQUEST, None)
    if request is not None:
        request.came_with(caller.credential)


class _Request(AbstractContextManager[None]):
    """A request that is being answered.

    Args:
        requests: has it while it runs.
        credential: that it came with; "" if that is not known.
    """

    __slots__ = ("_credential", "_requests")

    def __init__(self, requests: "_Requests", credential: str) -> None:
        self._requests = requests
        self._credential = credential

    @override
    def __enter__(self) -> None:
        if self._credential:
            self._requests.setdefault(self._credential, set()).add(self)

    @override
    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if self._credential:
            running = self._requests[self._credential]
            running.remove(self)
            if not running:
                del self._requests[self._credential]
        return None

    def came_with(self, credential: str) -> None:
        """Say which credential it came with, if that was not known."""
        self._credential = credential
        _Request.__enter__(self)

    @abstractmethod
    def cut(self) -> None:
        """End the response at once."""


_Requests: TypeAlias = dict[str, set[_Request]]


class _WireRequest(_Request):
    """A request on a connection of our own server. Small, because every open stream has one."""

    __slots__ = ("_wire",)

    def __init__(self, requests: _Requests, credential: str, wire: Wire) -> None:
        super().__init__(requests, credential)
        self._wire = wire

    @override
    def cut(self) -> None:
        self._wire.abort()


class _CancellableRequest(_Request):
    """A request on any other ASGI server, which drops the connection of a response that does not end."""

    __slots__ = ("_scope",)

    def __init__(self, requests: _Requests, credential: str) -> None:
        super().__init__(requests, credential)
        self._scope = anyio.CancelScope()

    @override
    def __enter__(self) -> None:
        self._scope.__enter__()
        super().__enter__()

    @override
    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        super().__exit__(kind, exc, traceback)
        return self._scope.__exit__(kind, exc, traceback)

    @override
    def cut(self) -> None:
        self._scope.cancel()
