"""A name server that hangs for one provider's name delays neither other providers nor the shutdown."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.eventstream import view
from support.process import FAKE, Running, serve, write_config
from support.stage import WIRES
from support.upstreams import finish, text, upstream

VIEWERS = 12
CONNECT_SECONDS = 3.0
HANG_SECONDS = 50.0

RESOLVER = f"""
import socket
import sys
import time

real = socket.getaddrinfo


def getaddrinfo(host, *args, **named):
    name = host.decode() if isinstance(host, bytes) else str(host)
    if "hanging" in name and not named.get("flags"):
        print(f"looking up {{name}}", file=sys.stderr, flush=True)
        time.sleep({HANG_SECONDS})
    return real(host, *args, **named)


socket.getaddrinfo = getaddrinfo
"""

both = pytest.mark.parametrize("kind", WIRES)


@asynccontextmanager
async def hanging(
    directory: Path, entries: Mapping[str, Mapping[str, Any]], **environ: str
) -> AsyncIterator[Running]:
    """Run a service whose resolver hangs for names with `hanging` in them."""
    (directory / "sitecustomize.py").write_text(RESOLVER)
    named = {f"providers.{name}": entry for name, entry in {"fine": FAKE, **entries}.items()}
    write_config(directory, named)
    path = {"PYTHONPATH": str(directory)}
    async with serve(directory, {"PROVIDER": "fine"}, environ={**path, **environ}) as service:
        yield service


def entry(kind: str, url: str, **fields: object) -> dict[str, object]:
    return {
        "kind": kind,
        "model": "m",
        "api_key_env": "",
        "base_url": url,
        "connect_seconds": CONNECT_SECONDS,
        **fields,
    }


async def ask(service: Running, provider: str) -> Sequence[Any]:
    """Return the events of an answer."""
    body = json.dumps({"prompt": "Hi", "provider": provider}).encode()
    headers = {"Accept": "text/event-stream", "Content-Type": "application/json"}
    async with view(
        service.port, "/v1/generations", method="POST", headers=headers, body=body
    ) as answer:
        return [event.json for event in await answer.events()]


@both
@pytest.mark.promise("upstream:bounded")
@pytest.mark.promise("upstream:rescue")
async def test_hanging_look_up_blocks_no_other_and_no_shutdown(tmp_path: Path, kind: str) -> None:
    ended: list[str] = []
    async with upstream(text("Well."), finish()) as api:
        port = api.url.rpartition(":")[2]
        entries = {
            "hangs": entry(kind, "http://hanging.test", fallbacks=["fine"]),
            "named": entry(kind, f"http://localhost:{port}{'/v1' if kind == 'openai' else ''}"),
        }
        async with hanging(tmp_path, entries) as service:
            assert (await ask(service, "named"))[-1]["status"] == "completed"  # its SDK is imported

            async def watch(provider: str, answered_by: str) -> None:
                *_, done = await ask(service, provider)
                assert (done["status"], done["provider"]) == ("completed", answered_by)
                ended.append(provider)

            with anyio.fail_after(CONNECT_SECONDS * 10):
                async with anyio.create_task_group() as tasks:
                    for _ in range(VIEWERS):
                        tasks.start_soon(watch, "hangs", "fine")
                    await service.logged("looking up hanging.test")
                    await watch("named", "named")
            assert ended == ["named", *["hangs"] * VIEWERS]
            assert service.output.count("looking up") < VIEWERS
            with anyio.fail_after(HANG_SECONDS / 3):
                assert await service.terminate() == 0


@both
@pytest.mark.promise("upstream:bounded")
async def test_hanging_look_up_of_a_proxy_times_out(tmp_path: Path, kind: str) -> None:
    entries = {"hangs": entry(kind, "http://elsewhere.test", fallbacks=["fine"])}
    environ = {"http_proxy": "http://hanging.test:3128", "no_proxy": ""}
    async with hanging(tmp_path, entries, **environ) as service:
        with anyio.fail_after(CONNECT_SECONDS * 10):
            *_, done = await ask(service, "hangs")
        assert (done["status"], done["provider"]) == ("completed", "fine")
        assert "looking up hanging.test" in service.output
        with anyio.fail_after(HANG_SECONDS / 3):
            assert await service.terminate() == 0
