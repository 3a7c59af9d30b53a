"""Reverse proxies with the configurations of `docs/guides/proxies.md` and `docs/operate/secure.md`: TLS in front of the service."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from browser.guide import files_of
from browser.pages import site as pages_of
from support.parts import find

_NGINX = """\
daemon off;
user root;
pid {directory}/nginx.pid;
error_log stderr notice;
events {{}}
http {{
  access_log off;
  types {{ text/html html; text/javascript js; }}
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  {server}
}}
"""
_CADDY = """\
{{
  admin off
  auto_https disable_redirects
}}
{server}
"""
_LIGHTTPD = """\
server.bind = "127.0.0.1"
{server}
"""


@dataclass(frozen=True)
class _Proxy:
    """How to run a proxy with the configuration of the document.

    Attributes:
        file: the name of its configuration in the document.
        places: replacements of the document's names and ports.
        arguments: its command line.
        around: a frame for a configuration that is not complete.
        page: the document.
    """

    file: str
    places: Mapping[str, str]
    arguments: tuple[str, ...]
    around: str = "{server}"
    page: str = "guides/proxies.md"


_ADDRESS = {"127.0.0.1:8000": "127.0.0.1:{service}"}
_CONFIG = "{directory}/proxy.conf"
_PROXIES = {
    "nginx": _Proxy(
        "nginx.conf",
        {
            **_ADDRESS,
            "listen 443": "listen 127.0.0.1:{port}",
            "/etc/ssl": "{directory}",
            "/var/www/words": "{site}",
        },
        ("-p", "{directory}", "-e", "stderr", "-c", _CONFIG),
        _NGINX,
    ),
    "caddy": _Proxy(
        "Caddyfile",
        {
            **_ADDRESS,
            "words.example.com {{": "https://localhost:{port} {{\n"
            "  bind 127.0.0.1\n  tls {directory}/words.crt {directory}/words.key",
            "/var/www/words": "{site}",
        },
        ("run", "--adapter", "caddyfile", "--config", _CONFIG),
        _CADDY,
    ),
    "haproxy": _Proxy(
        "haproxy.cfg",
        {
            **_ADDRESS,
            "bind :443": "bind 127.0.0.1:{plain_port}\n  bind 127.0.0.1:{port}",
            "/etc/ssl": "{directory}",
            "127.0.0.1:8080": "{page}",
        },
        ("-f", _CONFIG),
    ),
    "lighttpd": _Proxy(
        "lighttpd.conf",
        {
            '"port" => 8000': '"port" => {service}',
            "server.port = 443": "server.port = {port}",
            "/etc/ssl": "{directory}",
            "/var/www/words": "{site}",
        },
        ("-D", "-f", _CONFIG),
        _LIGHTTPD,
    ),
}
PROXIES = tuple(_PROXIES)

_INTERNET = _Proxy(
    "Caddyfile",
    {
        **_ADDRESS,
        "words.example.com {{": "https://words.example.com:{port} {{\n"
        "  bind 127.0.0.1\n  tls {directory}/words.crt {directory}/words.key",
    },
    ("run", "--adapter", "caddyfile", "--config", _CONFIG),
    _CADDY,
    "operate/secure.md",
)
"""Caddy in front of a service with keys."""

START_SECONDS = 20


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _certificate(directory: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost,DNS:words.example.com",
        "-keyout", str(directory / "words.key"), "-out", str(directory / "words.crt"),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await process.wait() == 0
    both = [(directory / f"words.{kind}").read_text() for kind in ("crt", "key")]
    (directory / "words.pem").write_text("".join(both))


def _configuration(proxy: _Proxy, here: Mapping[str, object]) -> str:
    """Return the configuration of the document, with the names and ports of this machine."""
    server = files_of(proxy.page)[proxy.file]
    for written, place in proxy.places.items():
        written = written.format()  # noqa: PLW2901  # replaces doubled braces
        assert written in server
        server = server.replace(written, place.format(**here))
    return proxy.around.format(server=server, **here)


@dataclass(frozen=True)
class Address:
    """The addresses of a proxy.

    Attributes:
        url: its address with TLS.
        plain_url: its address without TLS, which only HAProxy has, for HTTP/1.1 inside a network.
    """

    url: str
    plain_url: str


@asynccontextmanager
async def reverse_proxy(
    name: str, directory: Path, *, site: Path, service_port: int, without: str = ""
) -> AsyncIterator[Address]:
    """Run a proxy in front of a service and a directory of pages.

    Args:
        name: the proxy.
        directory: the directory for its files.
        site: the directory of the pages.
        service_port: the port of the service.
        without: a line to leave out of the configuration, to show its effect.
    """
    async with _running(
        _PROXIES[name], find(name), directory, site=site, service_port=service_port, without=without
    ) as address:
        yield address


@asynccontextmanager
async def on_the_internet(directory: Path, service_port: int) -> AsyncIterator[int]:
    """Run Caddy as `words.example.com`, as `docs/operate/secure.md` says; yields its port on 127.0.0.1."""
    async with _running(
        _INTERNET, find("caddy"), directory, site=directory, service_port=service_port
    ) as address:
        yield int(address.url.rpartition(":")[2])


@asynccontextmanager
async def _running(
    proxy: _Proxy,
    command: str,
    directory: Path,
    *,
    site: Path,
    service_port: int,
    without: str = "",
) -> AsyncIterator[Address]:
    await _certificate(directory)
    port, plain_port = _free_port(), _free_port()
    with pages_of(site) as page:
        here = {
            "directory": directory,
            "site": site,
            "page": page.removeprefix("http://"),
            "port": port,
            "plain_port": plain_port,
            "service": service_port,
        }
        configuration = _configuration(proxy, here)
        assert without in configuration
        (directory / "proxy.conf").write_text(configuration.replace(without, ""))
        process = await asyncio.create_subprocess_exec(
            command, *(argument.format(**here) for argument in proxy.arguments),
            env={**os.environ, "HOME": str(directory), "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": ""},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await _until_it_listens(process, port)
            yield Address(f"https://localhost:{port}", f"http://localhost:{plain_port}")
        finally:
            process.terminate()
            await process.wait()


async def _until_it_listens(process: asyncio.subprocess.Process, port: int) -> None:
    """Connect until it works: the four proxies have no common way to report that they listen."""
    with anyio.fail_after(START_SECONDS):
        while True:
            assert process.returncode is None
            try:
                await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
            except OSError:
                await anyio.sleep(0.02)
            else:
                return
