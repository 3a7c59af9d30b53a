"""Error messages for a path that is not served, or not with this method."""

import re
from collections.abc import Iterable

from starlette.routing import BaseRoute, Route

from streamsvc.dialects.invalid import nearest, quoted
from streamsvc.engine.ids import ID_PATTERN

_OPENAI = re.compile(
    r"(?P<base>(?:/(?:api|openai|deployments/[^/]+|v\d\w*))*)"
    r"/(?:chat/completions|models|completions|responses|embeddings|moderations|images|audio|files"
    r"|uploads|batches|fine_tuning|assistants|threads|vector_stores|realtime|messages|rerank)(?:/.*)?",
    re.IGNORECASE,
)
"""An endpoint of OpenAI's API, or one that servers often add to it, under any `base_url`."""

_SERVED = "This service supports POST /v1/chat/completions and GET /v1/models of OpenAI's API."
_OURS = "/v1/chat/"

_ID = re.compile(ID_PATTERN)
_CONVERTER = re.compile(r":\w+(?=\})")
"""The converter in a route parameter such as `{id:path}`, which is not part of a path."""

_SLASHES = re.compile(r"/{2,}")

_INSTEAD = {
    "/stream-ai": ", or POST /v1/generations with a JSON body",
    "/v1/generations": "; an EventSource takes GET /stream-ai?prompt=…",
}
"""What to use instead on a path that only has other methods."""


def is_openai(path: str) -> bool:
    """Return whether a path belongs to OpenAI's API, even as a client with a wrong `base_url` builds it."""
    plain = _plain(path)
    return plain.startswith(_OURS) or _OPENAI.fullmatch(plain) is not None


def not_found(path: str, routes: Iterable[BaseRoute]) -> str:
    """Return an error message for a path that is not served, with the path that may have been meant.

    Args:
        path: below the `root_path`.
        routes: the routes that are served.
    """
    plain = _plain(path)
    nothing = f"There is nothing at {quoted(path)}"
    if is_openai(path):
        found = _OPENAI.fullmatch(plain)
        if found is not None and found["base"] != "/v1":
            return f"{nothing}: base_url must end in /v1, right after this service's address. {_SERVED}"
        slashes = ": there is an extra slash, perhaps in base_url" if plain != path else ""
        return f"{nothing}{slashes}. {_SERVED}"
    served = tuple(_CONVERTER.sub("", it.path) for it in routes if isinstance(it, Route))
    meant = _ID.sub("{id}", plain)
    longer = [it for it in served if it.startswith(meant) and not it.startswith(f"{meant}/")]
    near = min(longer, key=len) if longer else nearest(meant, served)
    return f"{nothing}; did you mean {near}?" if near else f"{nothing}."


def not_allowed(method: str, path: str, allow: str) -> str:
    """Return an error message for a method that a path does not allow.

    Args:
        method: of the request.
        path: below the `root_path`.
        allow: the allowed methods, as in the `Allow` header.
    """
    methods = sorted({name.strip() for name in allow.split(",")} - {"", "HEAD"})
    if not methods:
        return f"{quoted(method)} is not allowed here."
    return f"{method[:20]} is not allowed here; use {' or '.join(methods)}{_INSTEAD.get(path, '')}."


def _plain(path: str) -> str:
    """Return a path without superfluous slashes."""
    return _SLASHES.sub("/", path).rstrip("/")
