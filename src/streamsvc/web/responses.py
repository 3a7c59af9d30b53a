"""Responses that are complete at once and never cached, for all endpoints."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

NO_STORE = {"Cache-Control": "no-store"}
"""A cached answer, list of ids or health state would be wrong (RFC 9111, section 5.2.2.5)."""


def json_response(
    value: object,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    media_type: str = "application/json",
) -> Response:
    """Return *value* as JSON; bytes are sent as they are."""
    return Response(
        value if isinstance(value, bytes) else msgspec.json.encode(value),
        status_code=status,
        headers={**NO_STORE, **(headers or {})},
        media_type=media_type,
    )


def no_content() -> Response:
    """Return a 204, at which a browser's EventSource stops reconnecting (HTML, section 9.2.3)."""
    return Response(status_code=204, headers=NO_STORE)
