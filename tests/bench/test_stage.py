"""The benchmark measures a target while no other one works."""

import sys
from contextlib import AsyncExitStack
from typing import cast

import pytest
from typing_extensions import override

from bench import stage
from bench.meter import Cores
from bench.sizes import Sizes
from bench.stage import Stage, Upstream
from bench.targets import Target

_SERVER = """
import http.server, sys, threading
class Health(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
def work():
    while True:
        pass
if sys.argv[2] == "busy":
    threading.Thread(target=work, daemon=True).start()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""


class _Quiet(Upstream):
    def __init__(self) -> None:
        self.port = self.pid = 0

    @override
    async def until_quiet(self) -> bool:
        return True

    @override
    async def reset(self) -> None:
        pass


def _target(name: str) -> Target:
    return Target(name, lambda port, _: [sys.executable, "-c", _SERVER, str(port), name])


async def test_target_that_does_not_become_idle_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stage, "IDLE_SECONDS", 0.5)
    async with AsyncExitStack() as stack:
        here = Stage(_Quiet(), Cores(0, 0, 0), cast("Sizes", None), (), 0, None, stack)
        async with here.guest(_target("busy")) as busy, here.guest(_target("idle")) as idle:
            before = busy.running.pid, idle.running.pid
            await here.begin_sample()
            after = busy.running.pid, idle.running.pid
            assert after[0] != before[0]
            assert after[1] == before[1]
            assert here.present == {busy, idle}
        assert here.present == set()
