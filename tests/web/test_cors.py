"""Pages of other origins: what they may read, create and send."""

import pytest

from conftest import Serve
from streamsvc.config.settings import CorsSettings
from support.asking import fetch
from support.eventstream import Answer
from support.native import ASK, HURRIED, with_fake
from support.service import Service

PAGE = "https://page.test"


async def ask_from(service: Service, origin: str, target: str = ASK, **headers: str) -> Answer:
    """Ask as a page does; with further headers it is a preflight."""
    method = "OPTIONS" if headers else "GET"
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return await fetch(service.port, target, method=method, headers={"Origin": origin, **fields})


async def test_page_of_a_configured_origin_reads_streams_and_errors(serve: Serve) -> None:
    service = await serve(with_fake(HURRIED, cors=CorsSettings(origins=(PAGE,))))
    for target in (ASK, "/stream-ai?prompt=", "/nothing"):
        answer = await ask_from(service, PAGE, target)
        assert answer.headers["access-control-allow-origin"] == PAGE
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert sorted(exposed) == [
            "Location",
            "Retry-After",
            "WWW-Authenticate",
            "X-Generation-Id",
            "X-Should-Retry",
        ]
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origins", [(), (PAGE,)])
async def test_page_of_another_origin_neither_reads_nor_creates(
    serve: Serve, origins: tuple[str, ...]
) -> None:
    service = await serve(with_fake(HURRIED, cors=CorsSettings(origins=origins)))
    for origin in ("https://other.test", "https://page.test.evil.test", "http://page.test", "null"):
        answer = await ask_from(service, origin)
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
        preflight = await ask_from(service, origin, Access_Control_Request_Method="GET")
        assert "access-control-allow-origin" not in preflight.headers
        posted = await service.client.post(
            "/v1/generations", content=b'{"prompt": "a"}', headers={"Origin": origin}
        )
        assert (posted.status_code, posted.json()["field"]) == (403, "Origin")
    assert len(service.log) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://chat.localhost", "Host": "chat.localhost"},
        {"Origin": "https://public.test", "Sec-Fetch-Site": "same-origin"},  # behind a proxy
        {},
    ],
)
async def test_page_of_the_service_may_create(serve: Serve, headers: dict[str, str]) -> None:
    service = await serve(with_fake(HURRIED))
    body = b'{"prompt": "a"}'
    answer = await service.client.post("/v1/generations", content=body, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("destination", "status"), [("image", 403), ("empty", 403), ("iframe", 403), ("document", 200)]
)
async def test_cross_site_image_creates_nothing_but_a_link_may(
    serve: Serve, destination: str, status: int
) -> None:
    """Such requests have no Origin; their Sec-Fetch headers decide."""
    service = await serve(with_fake(HURRIED))
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": destination}
    answer = await service.client.get(ASK, headers=headers)
    assert answer.status_code == status
    assert len(service.log) == (1 if status == 200 else 0)


async def test_preflight_allows_what_clients_send_and_nothing_else(serve: Serve) -> None:
    service = await serve(with_fake(HURRIED, cors=CorsSettings(origins=(PAGE,))))

    async def preflight(method: str, header: str) -> Answer:
        return await ask_from(
            service,
            PAGE,
            "/v1/generations",
            Access_Control_Request_Method=method,
            Access_Control_Request_Headers=header,
        )

    credentials = ("authorization", "x-api-key", "api-key")
    traced = ("traceparent", "tracestate")
    for header in ("last-event-id", "idempotency-key", "content-type", *credentials, *traced):
        answer = await preflight("POST", header)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert header in answer.headers["access-control-allow-headers"].lower()
        assert answer.headers["access-control-allow-methods"] == "GET, POST"
    assert (await preflight("POST", "x-other")).status == 400
    assert (await preflight("DELETE", "content-type")).status == 400
