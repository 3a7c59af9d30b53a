"""The printed nginx and Caddy configurations in front of a running service, with the real programs."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
import trustme

from support.commands import environment, run
from support.parts import find
from support.process import Running, serve
from support.redis_servers import free_port

NAME = "words.example.com"
SETTINGS = {"LIMITS__MAX_BODY_BYTES": "2000", "SERVER__HOSTS": NAME}
LOGS = {"nginx": ("streamsvc.log", "streamsvc-error.log"), "caddy": ("streamsvc.log",)}
NGINX = """\
daemon off;
user root;
pid {place}/nginx.pid;
events {{}}
http {{
  client_body_temp_path {place}/body;
  proxy_temp_path {place}/proxy;
  fastcgi_temp_path {place}/fastcgi;
  uwsgi_temp_path {place}/uwsgi;
  scgi_temp_path {place}/scgi;
{text}
}}
"""


def printed(kind: str, place: Path, variables: Mapping[str, str]) -> str:
    """Return what the command prints, as an operator runs it."""
    done = run(place, "deploy", kind, environ=variables)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def nginx(place: Path, port: int, text: str) -> list[str]:
    """Write a configuration with paths and a port of the test; return the command."""
    for name, mine in {
        "/etc/ssl/certs": str(place),
        "/etc/ssl/private": str(place),
        "/var/log/nginx": str(place),
        "listen 443": f"listen 127.0.0.1:{port}",
    }.items():
        assert name in text
        text = text.replace(name, mine)
    (place / "proxy.conf").write_text(NGINX.format(place=place, text=text))
    return [find("nginx"), "-p", str(place), "-e", "stderr", "-c", str(place / "proxy.conf")]


def caddy(place: Path, port: int, text: str) -> list[str]:
    site = f"https://{NAME}:{port} {{\n  bind 127.0.0.1\n  tls {place}/streamsvc.pem {place}/streamsvc.key\n"
    text = text.replace(f"{NAME} {{\n", site, 1)
    text = text.replace("  log {\n", f"  log {{\n    output file {place}/streamsvc.log\n")
    text = text.replace("{\n", "{\n  admin off\n  auto_https disable_redirects\n", 1)
    (place / "proxy.conf").write_text(text)
    return [find("caddy"), "run", "--adapter", "caddyfile", "--config", str(place / "proxy.conf")]


@asynccontextmanager
async def deployed(kind: str, place: Path) -> AsyncIterator[tuple[Running, httpx2.AsyncClient]]:
    """Run a service, and the printed proxy in front of it; yield it and a client of the proxy."""
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME)
    certificate.private_key_pem.write_to_path(place / "streamsvc.key")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(place / "streamsvc.pem", append=True)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with serve(place, SETTINGS) as service:
        port = free_port()
        command = await started_command(kind, place, port, service)
        async with await anyio.open_process(
            command, env=environment({"HOME": str(place)}), stdout=None, stderr=None
        ) as proxy:
            try:
                async with httpx2.AsyncClient(
                    base_url=f"https://127.0.0.1:{port}",
                    verify=trust,
                    headers={"Host": f"{NAME}:{port}"},
                ) as client:
                    client.event_hooks = {"request": [_name_server]}
                    with anyio.fail_after(20):
                        while not await is_up(client):
                            pass
                    yield service, client
            finally:
                proxy.terminate()


async def started_command(kind: str, place: Path, port: int, service: Running) -> list[str]:
    variables = {f"STREAMSVC_{name}": text for name, text in SETTINGS.items()}
    variables["STREAMSVC_SERVER__PORT"] = str(service.port)
    text = printed(kind, place, variables)
    return {"nginx": nginx, "caddy": caddy}[kind](place, port, text)


async def _name_server(request: httpx2.Request) -> None:
    """Ask for the name of the certificate, which is not that of the address."""
    request.extensions["sni_hostname"] = NAME


async def is_up(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx2.ConnectError:
        return False


@pytest.mark.promise("secret:kept")
@pytest.mark.parametrize(
    "kind",
    [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("nginx", "caddy")],
)
async def test_printed_proxy_streams_and_logs_no_prompt(tmp_path: Path, kind: str) -> None:
    ask, referer = "/stream-ai?prompt=planted", {"Referer": "https://a/?planted"}
    async with deployed(kind, tmp_path) as (service, client):
        answer = await client.get(ask, headers=referer)
        assert answer.status_code == 200
        assert '"status":"completed"' in answer.text
        large = await client.post("/v1/generations", content=b"x" * 2001)
        assert large.status_code == 413
        assert (await client.get("/metrics")).status_code in {403, 404}  # which is for this machine
        await service.terminate()
        assert (await client.get(ask, headers=referer)).status_code == 502
    log = "".join((tmp_path / name).read_text() for name in LOGS[kind])
    assert "/stream-ai" in log
    assert "planted" not in log
