"""Reports refused requests to the hooks, with nothing that a client can choose freely.

No query, body or header, and only those segments of a path that look like a name.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from starlette.types import Scope

from streamsvc.engine.ids import ID_PATTERN
from streamsvc.hooks import Hooks, Refused

_NAME = re.compile(r"[A-Za-z0-9._~:@+-]{0,38}", re.ASCII)
"""A path segment that may be shown: at most as long as the id of a generation; API keys are longer."""

_ID = re.compile(ID_PATTERN)
_MAX_PARTS = 8


class Refusals:
    """Reports refused requests.

    Args:
        hooks: get a report of each.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def note(
        self,
        scope: Scope,
        status: int,
        code: str,
        details: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Report a refused request.

        Args:
            scope: of the request.
            status: of the response.
            code: of the refusal.
            details: for the log line, by name; nothing of a prompt or a key.
        """
        method = scope["method"]
        self._hooks.notify(
            Refused(
                status=status,
                code=code,
                method=method if method.isascii() and method.isalpha() else "*",
                path=shown_path(scope),
                details=details,
            )
        )


def shown_path(scope: Scope) -> str:
    """Return the path of a request, with `*` for each segment that does not look like a name.

    Where a route matches, its parameter is `*`, too, unless it is the id of a generation: a chat's id is the client's.
    """
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    for value in scope.get("path_params", {}).values():
        if value and not _ID.fullmatch(value):
            before, _, after = path.rpartition(value)
            path = f"{before}*{after}"
    parts = path.split("/", _MAX_PARTS)
    return "/".join(part if _NAME.fullmatch(part) else "*" for part in parts)
