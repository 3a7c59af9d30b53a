"""What a page of another site can send without a preflight, or a browser without its user, creates nothing.

Starlette CVE-2026-54283: the limits on forms did not hold for urlencoded ones. No form is parsed here.
"""

import json
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

import pytest
from starlette.requests import Request

from streamsvc.config.settings import LimitSettings
from support.asking import CLIENTS, fetch
from support.native import CREATE, SILENT, created, creates, snapshot, with_fake
from support.security import every_route
from support.service import Service
from support.shared import shared_service

service = shared_service(with_fake(SILENT, limits=LimitSettings(max_body_bytes=300_000)))

CREATING = ("native", "openai", "ai-sdk")
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain")
ELSEWHERE: tuple[Mapping[str, str], ...] = (
    {"Origin": "https://evil.test"},
    {"Origin": "null"},
    {"Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"},
    {"Origin": "null", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "empty"},  # a request that hides its origin
    {"Origin": "http://localhost:1", "Sec-Fetch-Site": "same-site"},
)
PREFETCHES = ({"Sec-Purpose": "prefetch;prerender"}, {"Purpose": "prefetch"}, {"X-Moz": "prefetch"})


def bodies(name: str) -> Iterator[bytes]:
    """Yield bodies that a form can have; its text/plain may be JSON: `<input name='{"a":"' value='"}'>`."""
    body = CLIENTS[name].request().body
    yield json.dumps(body).encode() + b"\r\n"
    yield b"prompt=hi&" * 20_000
    yield b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nhi\r\n' * 2000 + b"--b--"


@pytest.mark.parametrize("name", CREATING)
@pytest.mark.parametrize("kind", FORMS)
async def test_form_of_another_site_creates_nothing(service: Service, name: str, kind: str) -> None:
    path = CLIENTS[name].path
    with creates(service, 0):
        for headers in ELSEWHERE:
            for body in bodies(name):
                answer = await fetch(
                    service.port,
                    path,
                    method="POST",
                    headers={"Content-Type": kind, **headers},
                    body=body,
                )
                assert answer.status == 403


@pytest.mark.parametrize("path", [path for method, path in every_route() if method == "POST"])
async def test_form_of_another_site_is_refused_by_every_route(service: Service, path: str) -> None:
    """Also by one that is new."""
    for headers in ELSEWHERE:
        answer = await fetch(service.port, path, method="POST", headers=headers, body=b"{}")
        assert answer.status == 403


@pytest.mark.parametrize("headers", ELSEWHERE[:3], ids=str)
async def test_form_of_another_site_stops_nothing(
    service: Service, headers: Mapping[str, str]
) -> None:
    generation = await created(service)
    for path in (f"{CREATE}/{generation}/stop", "/api/chat/chat-1/stop"):
        answer = await fetch(service.port, path, method="POST", headers=headers, body=b"a=b")
        assert answer.status == 403
    assert (await snapshot(service, generation))["status"] == "running"
    await service.client.post(f"{CREATE}/{generation}/stop")


@pytest.mark.parametrize("name", CREATING)
@pytest.mark.parametrize("kind", FORMS[:2])
async def test_cve_2026_54283_form_is_refused_unparsed(
    service: Service, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    """Also from the service's own page; and a large one before it has arrived."""

    async def parse(*_: object, **__: object) -> Any:
        raise AssertionError("a form is parsed")

    monkeypatch.setattr(Request, "_get_form", parse)
    _json, *forms = bodies(name)
    with creates(service, 0):
        for body, status in ((forms[0], 400), (forms[1], 400), (b"a=b&" * 100_000, 413)):
            answer = await fetch(
                service.port,
                CLIENTS[name].path,
                method="POST",
                headers={"Content-Type": kind},
                body=body,
            )
            assert answer.status == status


def test_cve_2026_54283_no_parser_of_forms_is_installed_with_the_service() -> None:
    required = " ".join(metadata.requires("streamsvc") or ()).lower()
    assert "multipart" not in required
    assert "starlette[" not in required


@pytest.mark.parametrize("headers", PREFETCHES, ids=str)
async def test_prefetch_creates_nothing_in_any_dialect(
    service: Service, headers: Mapping[str, str]
) -> None:
    """A browser only prefetches with GET, and only one path creates something with GET."""
    with creates(service, 0):
        for name in ("native-get", "text-get", "plain-get"):
            answer = await fetch(service.port, CLIENTS[name].request().target, headers=headers)
            assert answer.status == 503


async def test_no_other_path_creates_something_with_get_or_head(service: Service) -> None:
    """A prefetch, an image or a link of another site sends nothing else."""
    with creates(service, 0):
        for client in CLIENTS.values():
            for method in ("GET", "HEAD"):
                if client.wraps is not None or method == "HEAD":
                    target = f"{client.path}?prompt=hi"
                    answer = await fetch(service.port, target, method=method)
                    assert answer.status in {200, 405}
