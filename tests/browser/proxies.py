"""Reverse proxies with the configurations of `docs/frontend.md`: HTTP/2 in front of the service."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from browser.guide import FILES
from parts import find

PROXIES = ("nginx", "caddy")

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
_READY = {"nginx": b"start worker process ", "caddy": b"serving initial configuration"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _certificate(directory: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost",
        "-keyout", str(directory / "words.key"), "-out", str(directory / "words.crt"),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await process.wait() == 0


def _configuration(name: str, directory: Path, site: Path, port: int, service_port: int) -> str:
    """Return what the document has, with the names and ports of this machine."""
    places = {
        "listen 443": f"listen 127.0.0.1:{port}",
        "/etc/ssl": str(directory),
        "/var/www/words": str(site),
        "127.0.0.1:8000": f"127.0.0.1:{service_port}",
    }
    if name == "caddy":
        del places["listen 443"], places["/etc/ssl"]
        files = f"tls {directory}/words.crt {directory}/words.key"
        places["words.example.com {"] = f"https://localhost:{port} {{\n  {files}"
    server = FILES["nginx.conf" if name == "nginx" else "Caddyfile"]
    for written, here in places.items():
        assert written in server
        server = server.replace(written, here)
    return (_NGINX if name == "nginx" else _CADDY).format(directory=directory, server=server)


@asynccontextmanager
async def reverse_proxy(
    name: str, directory: Path, *, site: Path, service_port: int
) -> AsyncIterator[str]:
    """Run nginx or Caddy in front of a service and a directory of pages; yield its address."""
    command = find(name)
    await _certificate(directory)
    port = _free_port()
    config = directory / f"{name}.conf"
    config.write_text(_configuration(name, directory, site, port, service_port))
    arguments = {
        "nginx": ["-p", str(directory), "-e", "stderr", "-c", str(config)],
        "caddy": ["run", "--adapter", "caddyfile", "--config", str(config)],
    }
    process = await asyncio.create_subprocess_exec(
        command, *arguments[name],
        env={**os.environ, "HOME": str(directory), "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": ""},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        said = b""
        while _READY[name] not in said:
            line = await process.stderr.readline()
            assert line, said.decode()
            said += line
        yield f"https://localhost:{port}"
    finally:
        process.terminate()
        await process.communicate()
