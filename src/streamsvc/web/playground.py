"""The playground: a page that shows what the service does, served as static files.

The page loads only what is served here, and the headers make the browser enforce that: no script, style or
connection to another origin, and no text that becomes markup (CSP Level 3; Trusted Types). Its URLs are
relative, so it works under any path that a proxy gives it.
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

from streamsvc.web.requests import RequestHead

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

_PAGE = "index.html"

_HEADERS = {
    "Cache-Control": "no-cache",  # revalidated each time, so that a new version is seen
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
}
"""They replace the defaults of `web/headers.py`."""


class Playground(StaticFiles):
    """The files of the page, in `web/static`.

    Args:
        is_demo: whether the page shows which worker produces an answer, and may kill it (`web/demo.py`).
    """

    def __init__(self, *, is_demo: bool = False) -> None:
        directory = Path(__file__).with_name("static")
        super().__init__(directory=directory)
        self._demo_page = ""
        if is_demo:
            text = (directory / _PAGE).read_text(encoding="utf-8")
            self._demo_page = text.replace("<html ", "<html data-demo ", 1)

    async def page(self, request: Request, _head: RequestHead) -> Response:
        """`GET /`: the page itself."""
        if self._demo_page:
            return Response(self._demo_page, media_type="text/html", headers=_HEADERS)
        return await super().get_response(_PAGE, request.scope)

    @override
    async def get_response(self, path: str, scope: Scope) -> Response:
        if path == _PAGE:  # its relative URLs would be wrong here
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
        response.headers.update(_HEADERS)
        return response
