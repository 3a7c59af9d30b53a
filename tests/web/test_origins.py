"""Who may ask: origins of pages, names of hosts, prefetches."""

import itertools
from collections.abc import Mapping

import pytest
from starlette.requests import Request

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import CorsSettings, ServerSettings, Settings
from streamsvc.errors import HostRefused, OriginRefused
from streamsvc.web.hosts import Hosts
from streamsvc.web.origins import Origins
from streamsvc.web.requests import read_head
from support.asking import fetch
from support.eventstream import Answer
from support.native import ASK
from support.service import Service
from support.shared import shared_service

FAKE = FakeSettings(words_per_second=0, first_word_seconds=0)


service = shared_service(Settings(providers={"fake": FAKE}))


async def ask(
    service: Service, target: str, headers: Mapping[str, str], method: str = "GET"
) -> Answer:
    body = b"{}" if method == "POST" else None
    return await fetch(service.port, target, method=method, headers=headers, body=body)


# ---- Origins


def may_create(origin: str, host: str, *allowed: str, site: str = "") -> bool:
    headers = [(b"origin", origin.encode("latin-1")), (b"host", host.encode("latin-1"))]
    if site:
        headers.append((b"sec-fetch-site", site.encode()))
    head = read_head(Request({"type": "http", "headers": headers, "query_string": b""}))
    try:
        Origins(allowed).check(head)
    except OriginRefused:
        return False
    return True


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://chat.lan", "chat.lan"),
        ("http://chat.lan", "chat.lan:80"),
        ("https://chat.lan", "chat.lan"),
        ("https://chat.lan", "chat.lan:443"),
        ("https://chat.lan", "chat.lan:80"),  # a proxy has ended TLS
        ("http://chat.lan", "CHAT.Lan"),
        ("http://chat.lan", "chat.lan."),
        ("http://chat.lan.", "chat.lan"),
        ("HTTP://Chat.LAN", "chat.lan"),
        ("http://chat.lan:80", "chat.lan"),
        ("http://chat.lan:8000", "chat.lan:8000"),
        ("https://chat.lan:8443", "Chat.lan:8443"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("http://[::1]:8000", "[0:0:0:0:0:0:0:1]:8000"),
        ("http://[2001:DB8::1]", "[2001:db8:0::1]:80"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
    ],
)
def test_page_of_the_own_origin_may_create(origin: str, host: str) -> None:
    assert may_create(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://chat.lan:8001", "chat.lan:8000"),
        ("http://chat.lan", "chat.lan:8000"),
        ("http://chat.lan:8000", "chat.lan"),
        ("https://chat.lan:8443", "chat.lan:443"),
        ("http://chat.lan.evil.example", "chat.lan"),
        ("http://evil-chat.lan", "chat.lan"),
        ("http://localhost:8000", "127.0.0.1:8000"),
        ("http://chat.lan@evil.example", "evil.example"),
        ("http://evil.example", "chat.lan@evil.example"),
        ("http://[::1]:8000", "[::2]:8000"),
        ("null", "chat.lan"),
        ("null", "null"),
        ("", "chat.lan"),
        ("http://", ""),
        ("chat.lan", "chat.lan"),
        ("http://chat.lan/", "chat.lan/"),
        ("http://chat.lan:x", "chat.lan:x"),
        ("http://chat.lan:99999", "chat.lan:99999"),
        ("http://[::1", "[::1"),
        ("http://ch\xe4t.lan", "ch\xe4t.lan"),
        ("http://a http://b", "a"),
        ("http://" + "a" * 400, "a" * 400),
    ],
)
def test_page_of_another_origin_may_not_create(origin: str, host: str) -> None:
    assert not may_create(origin, host)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_sec_fetch_site_overrides_the_host(site: str) -> None:
    """For example, `http:` and `https:` look the same when a proxy has ended TLS."""
    assert not may_create("http://chat.lan", "chat.lan", site=site)
    assert may_create("http://chat.lan", "chat.lan", "http://chat.lan", site=site)
    assert may_create("https://chat.lan:1", "internal", site="same-origin")


@pytest.mark.parametrize(
    ("allowed", "origin", "is_allowed"),
    [
        ("https://a.test", "https://a.test", True),
        ("https://a.test:443", "https://a.test", True),
        ("http://a.test:80", "http://a.test", True),
        ("https://a.test", "https://A.test:443", True),
        ("https://a.test", "https://a.test.", True),
        ("http://[::1]:80", "http://[0:0::1]", True),
        ("https://a.test", "http://a.test", False),
        ("https://a.test", "https://a.test:8443", False),
        ("https://a.test", "https://b.a.test", False),
        ("https://a.test", "null", False),
        ("*", "null", True),
        ("*", "https://a.test", True),
    ],
)
async def test_configured_origins_are_compared_as_origins(
    serve: Serve, allowed: str, origin: str, *, is_allowed: bool
) -> None:
    """The rule is the same for creating, reading and preflights."""
    settings = Settings(providers={"fake": FAKE}, cors=CorsSettings(origins=(allowed,)))
    service = await serve(settings)
    answer = await ask(service, ASK, {"Origin": origin})
    assert answer.status == (200 if is_allowed else 403)
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    permit = await ask(service, "/v1/generations", preflight, "OPTIONS")
    assert permit.status == (200 if is_allowed else 403)
    for seen in (answer, permit):
        readable = seen.headers.get("access-control-allow-origin")
        assert readable == ((origin if allowed != "*" else "*") if is_allowed else None)


@pytest.mark.promise("input:clear-error")
async def test_refusal_names_the_origin_and_the_setting(service: Service) -> None:
    """Also in the answer to a preflight, after which the browser sends nothing else."""
    page = {"Origin": "http://localhost:5173"}
    preflight = {**page, "Access-Control-Request-Method": "POST"}
    for headers, method in ((page, "GET"), (preflight, "OPTIONS")):
        answer = await ask(service, ASK, headers, method)
        assert answer.status == 403
        assert b"http://localhost:5173" in answer.raw
        assert b"cors.origins" in answer.raw


# ---- Hosts


def serves(host: str, *names: str, listening: str = "127.0.0.1") -> bool:
    hosts = Hosts(ServerSettings(host=listening, hosts=names))
    try:
        if hosts.is_checked:
            hosts.check(host)
    except HostRefused:
        return False
    return True


LOOPBACK = (
    *("localhost", "LOCALHOST:8000", "localhost.", "app.localhost:8000", "127.0.0.1", "127.0.0.1:8000"),
    *("127.1.2.3:1", "[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]:8000", ""),
)  # fmt: skip
FOREIGN = (
    *("evil.example", "evil.example:8000", "localhost.evil.example", "evil-localhost", "127.0.0.1.evil.example"),
    *("0.0.0.0:8000", "192.168.0.2", "[::2]", "[::]:8000", "localhost@evil.example", "evil.example/localhost"),
    *("localhost, evil.example", "localhost evil.example", "l\xf6calhost", "[::1", "localhost:x", "a" * 400, "*"),
)  # fmt: skip


@pytest.mark.parametrize("listening", ["127.0.0.1", "localhost", "::1", "[::1]", "127.0.0.2"])
def test_loopback_address_serves_only_loopback_names(listening: str) -> None:
    assert [host for host in LOOPBACK if not serves(host, listening=listening)] == []
    assert [host for host in FOREIGN if serves(host, listening=listening)] == []


def test_settings_add_hosts() -> None:
    names = ("chat.example.com", "*.Corp.test", "192.168.0.2", "[fe80:0::1]")
    for host in (
        *("chat.example.com", "Chat.Example.com.:443", "a.corp.test", "a.b.corp.test:1"),
        *("192.168.0.2:8000", "[fe80::1]:8000", "localhost"),
    ):
        assert serves(host, *names), host
    for host in ("corp.test", "x.example.com", "evilcorp.test", "example.com"):
        assert not serves(host, *names), host
    assert all(serves(host, "*") for host in FOREIGN)


REACHABLE = ("0.0.0.0", "::", "[::]", "192.168.0.2", "chat.example.com")
ADDRESSES = (
    *("0.0.0.0:8000", "192.168.0.2", "10.1.2.3:1", "[::2]", "[::]:8000", "[2001:db8::1]:8000"),
    "[::ffff:1.2.3.4]",
)


@pytest.mark.parametrize("listening", REACHABLE)
def test_other_address_serves_loopback_names_and_addresses(listening: str) -> None:
    """A rebinding attack needs a name; load balancers and the kubelet probe by address."""
    served = (*LOOPBACK, *ADDRESSES)
    assert [host for host in served if not serves(host, listening=listening)] == []
    names = set(FOREIGN) - set(ADDRESSES)
    assert [host for host in names if serves(host, listening=listening)] == []
    assert serves("a.corp.test:1", "*.corp.test", listening=listening)
    assert all(serves(host, "*", listening=listening) for host in FOREIGN)


def test_name_to_listen_on_is_served() -> None:
    for host in ("chat.example.com", "Chat.Example.com.:8000"):
        assert serves(host, listening="chat.example.com")
        assert not serves(host, listening="0.0.0.0")


def test_service_without_a_name_says_so() -> None:
    def has_only_addresses(listening: str, *names: str) -> bool:
        return Hosts(ServerSettings(host=listening, hosts=names)).has_only_addresses

    assert all(has_only_addresses(host) for host in ("0.0.0.0", "::", "192.168.0.2"))
    assert has_only_addresses("0.0.0.0", "192.168.0.2")
    assert not any(has_only_addresses(host) for host in ("127.0.0.1", "localhost", "chat.test"))
    for name in ("chat.test", "*.chat.test", "*"):
        assert not has_only_addresses("0.0.0.0", name)


REBOUND = {
    "Host": "evil.example:8000",
    "Origin": "http://evil.example:8000",
    "Sec-Fetch-Site": "same-origin",
}


@pytest.mark.promise("input:clear-error")
async def test_page_that_rebinds_its_name_gets_nothing(service: Service) -> None:
    """At any address, with any method, and for its preflight."""
    before = len(service.log)
    preflight = {**REBOUND, "Access-Control-Request-Method": "POST"}
    for target, method, headers in (
        *((target, "GET", REBOUND) for target in (ASK, "/", "/v1/models", "/readyz", "/none")),
        *((target, "POST", REBOUND) for target in ("/v1/generations", "/api/chat")),
        ("/v1/chat/completions", "POST", REBOUND),
        ("/v1/generations", "OPTIONS", preflight),
    ):
        answer = await ask(service, target, headers, method)
        assert answer.status == 421
        assert b"evil.example" in answer.raw
        assert b"server.hosts" in answer.raw
        assert "access-control-allow-origin" not in answer.headers
    assert len(service.log) == before


async def test_configured_host_is_served(serve: Serve) -> None:
    server = ServerSettings(hosts=("evil.example",))
    service = await serve(Settings(providers={"fake": FAKE}, server=server))
    assert (await ask(service, ASK, REBOUND)).status == 200


# ---- Prefetches

PREFETCHES = (
    *(
        {"Sec-Purpose": value}
        for value in ("prefetch", "prefetch;prerender", "Prefetch; anonymous")
    ),
    {"Purpose": "prefetch"},
    {"X-Purpose": "preview"},
    {"X-Moz": "prefetch"},
)


@pytest.mark.promise("resume:never-regenerate")
@pytest.mark.parametrize("headers", PREFETCHES)
async def test_prefetch_creates_nothing_and_is_not_cached(
    service: Service, headers: dict[str, str]
) -> None:
    """A browser would show a prefetched success; after a failure it sends the user's own request."""
    before = len(service.log)
    answer = await ask(service, ASK, {**headers, "Sec-Fetch-Dest": "document"})
    assert (answer.status, answer.headers["cache-control"]) == (503, "no-store")
    assert len(service.log) == before
    assert (await ask(service, ASK, {"Sec-Fetch-Dest": "document"})).status == 200
    assert len(service.log) == before + 1


async def test_prefetch_is_not_a_viewer(serve: Serve) -> None:
    """If it were one, its leaving would end an answer that waits for its first viewer."""
    silent = FakeSettings(first_word_seconds=3600)
    service = await serve(Settings(providers={"fake": silent}))
    made = (await service.client.post("/v1/generations", json={"prompt": "hi"})).json()["id"]
    chat = {"id": "c", "messages": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}]}
    async with service.client.stream("POST", "/api/chat", json=chat):
        for target, headers in itertools.product(
            (f"/v1/generations/{made}/events", "/api/chat/c/stream"), PREFETCHES
        ):
            assert (await ask(service, target, headers)).status == 503
        assert (await service.client.get(f"/v1/generations/{made}")).json()["status"] == "running"
        assert service.supervisor.running == 2


@pytest.mark.parametrize("headers", [{"Sec-Purpose": ""}, {"Purpose": "navigate"}])
async def test_any_other_purpose_is_served(service: Service, headers: dict[str, str]) -> None:
    assert (await ask(service, ASK, headers)).status == 200
