"""The playground: a page that shows what the service does, served as static files."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from streamsvc.web.page_files import PAGE_HEADERS, PageFiles
from streamsvc.web.requests import RequestHead

DIRECTORY = Path(__file__).with_name("static")

_PAGE = "index.html"


class Playground(PageFiles):
    """The files of the page, in `web/static`.

    Args:
        is_demo: whether the page shows which worker produces an answer, and may kill it (`web/demo.py`).
    """

    def __init__(self, *, is_demo: bool = False) -> None:
        super().__init__(DIRECTORY, _PAGE)
        self._demo_page = ""
        if is_demo:
            text = (DIRECTORY / _PAGE).read_text(encoding="utf-8")
            self._demo_page = text.replace("<html ", "<html data-demo ", 1)

    async def page(self, request: Request, _head: RequestHead) -> Response:
        """`GET /`: the page itself."""
        if self._demo_page:
            return Response(self._demo_page, media_type="text/html", headers=PAGE_HEADERS)
        return await self.page_response(request)
