"""The files of the playground: their headers and size, and the addresses that serve nothing."""

import re
from pathlib import Path

import streamsvc.web.playground
from conftest import Serve
from streamsvc.config.settings import PlaygroundSettings, ServerSettings, Settings
from streamsvc.web.page_files import CONTENT_SECURITY_POLICY

STATIC = Path(streamsvc.web.playground.__file__).with_name("static")
FILES = sorted(str(path.relative_to(STATIC)) for path in STATIC.rglob("*") if path.is_file())
OWN = [name for name in FILES if not name.startswith("vendor/")]

SCRIPT = {"text/javascript", "application/javascript"}  # a module with another type is not run
TYPES = {
    "": {"text/html", "application/octet-stream"},  # the page, and the licences of libraries
    ".css": {"text/css"},
    ".js": SCRIPT,
    ".md": {"text/markdown"},
    ".mjs": SCRIPT,
    ".svg": {"image/svg+xml"},
}


async def test_files_have_a_strict_policy_and_an_etag(
    serve: Serve,
) -> None:
    service = await serve(Settings())
    addresses = ["/", *(f"/playground/{name}" for name in FILES if name != "index.html")]
    for address in addresses:
        answer = await service.client.get(address)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"
        again = await service.client.get(address, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        assert answer.headers["content-type"].split(";")[0] in TYPES[Path(address).suffix]
    assert "'unsafe" not in CONTENT_SECURITY_POLICY


def test_files_are_under_250_kb_and_name_no_other_origin() -> None:
    texts = {name: (STATIC / name).read_text(encoding="utf-8") for name in OWN}
    assert sum(len(text.encode()) for text in texts.values()) < 250_000
    for name, text in texts.items():
        elsewhere = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text))
        assert elsewhere <= {"http://www.w3.org"}, (
            name
        )  # the XML namespace of SVG, which nobody requests


async def test_missing_file_is_a_problem(serve: Serve) -> None:
    service = await serve(Settings())
    for address in (
        "/playground/none.js",
        "/playground/index.html",
        "/playground/../app.py",
        "/playground/%2e%2e/app.py",
    ):
        answer = await service.client.get(address)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = await service.client.post("/")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


async def test_disabled_playground_serves_nothing(serve: Serve) -> None:
    service = await serve(Settings(playground=PlaygroundSettings(enabled=False)))
    for address in ("/", "/playground/playground.js"):
        assert (await service.client.get(address)).status_code == 404


async def test_location_starts_with_the_root_path(serve: Serve) -> None:
    service = await serve(Settings(server=ServerSettings(root_path="/llm")))
    created = await service.client.post("/v1/generations", json={"prompt": "hello"})
    assert created.headers["location"] == f"/llm/v1/generations/{created.json()['id']}"
    assert (await service.client.get("/playground/answer.js")).status_code == 200
