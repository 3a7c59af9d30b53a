"""What an upstream says when it refuses is read within bounds, and no client sees it.

AI SDK CVE-2026-8769: the body of an error was read without a limit.
"""

from collections.abc import Callable

import anyio
import pytest

from streamsvc.config.provider_settings import ProviderSettings
from streamsvc.config.settings import Settings
from streamsvc.providers.response import REFUSAL_BYTES
from support.asking import CLIENTS, answered
from support.service import serving
from support.upstreams import GEMINI, OPENAI, Exchange, upstream

ALL_BYTES = 100_000_000
PIECE = b"x" * 65_536
IN_FLIGHT_BYTES = 16_000_000
"""What the kernel's buffers of a loopback connection may hold besides."""


class Flood:
    """An error whose body is endless, for all that a client can tell.

    Attributes:
        sent_bytes: how much of it the peer has taken.
    """

    def __init__(self, framing: str) -> None:
        self.sent_bytes = 0
        self._framing = framing

    async def send(self, to: Exchange) -> None:
        to.is_over = True
        await to.write(f"HTTP/1.1 500 Flood\r\n{self._framing}\r\n\r\n".encode())
        chunk = PIECE if "chunked" not in self._framing else b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
        while self.sent_bytes < ALL_BYTES:
            await to.write(chunk)
            self.sent_bytes += len(PIECE)


@pytest.mark.parametrize("framing", [f"Content-Length: {ALL_BYTES}", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("entry", ["openai", "gemini"])
async def test_cve_2026_8769_error_body_of_100_mb_is_not_read(entry: str, framing: str) -> None:
    flood = Flood(framing)
    entries: dict[str, Callable[..., ProviderSettings]] = {
        "openai": OPENAI.entry,
        "gemini": GEMINI.entry,
    }
    async with upstream(flood.send) as api:
        providers = {entry: entries[entry](api.url, attempts=1)}
        settings = Settings(provider=entry, providers=providers)
        async with serving(settings, {}) as service:
            answer = await answered(service.port, CLIENTS["native"].request(entry))
            call = await api.call()
            with anyio.fail_after(10):
                await call.closed.wait()
    assert b'"code":"provider_unavailable"' in answer.raw
    assert b"xxxx" not in answer.raw
    assert flood.sent_bytes < REFUSAL_BYTES + IN_FLIGHT_BYTES
