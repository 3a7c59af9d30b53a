"""The files of a page, with headers that let the page load nothing from elsewhere.

No script, style or connection to another origin, and no text that becomes markup: the browser enforces that (CSP
Level 3; Trusted Types). The URLs in a page are relative, so it works under any path that a proxy gives it.
"""

import os
from http import HTTPStatus
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from typing_extensions import override

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

PAGE_HEADERS = {
    "Cache-Control": "no-cache",  # revalidated each time, so that a new version is seen
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
}
"""They replace the defaults of `web/headers.py`."""


class PageFiles(StaticFiles):
    """The files of a page.

    Args:
        directory: has them.
        page: the name of the page itself among them, which is not served as a file: its relative URLs would be wrong.
    """

    def __init__(self, directory: Path, page: str) -> None:
        super().__init__(directory=directory)
        self._page = page

    async def page_response(self, request: Request) -> Response:
        """Return the page itself."""
        return await super().get_response(self._page, request.scope)

    @override
    async def get_response(self, path: str, scope: Scope) -> Response:
        if path == self._page:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return await super().get_response(path, scope)

    @override
    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(PAGE_HEADERS)
        return response
