"""The playground serves its own files and nothing else, however a path or a range is written.

Starlette CVE-2026-48818: a UNC path reached another machine; CVE-2025-62727: many ranges took quadratic time.
"""

from pathlib import Path

import pytest

import streamsvc.web.playground
from support.asking import fetch
from support.process import FAKE, Running
from support.rawhttp import exchange
from support.shared import quiet_service, shared_process

STATIC = Path(streamsvc.web.playground.__file__).with_name("static")
SCRIPT = "/playground/playground.js"
RANGES = 1000

process = shared_process({"providers.fake": FAKE})
service = quiet_service()

OUTSIDE = (
    *("..", "../app.py", "../../app.py", "static/../../app.py", "/etc/passwd", "//etc/passwd"),
    *("%2e%2e/app.py", "%2e%2e%2fapp.py", "..%2fapp.py", "..%5capp.py", "..\\app.py", ".../app.py"),
    *("..;/app.py", "%252e%252e/app.py", "%c0%ae%c0%ae/app.py", "..%00/app.py", "playground.js%00.txt"),
    *("%00", "\\\\host\\share\\x.js", "%5c%5chost%5cshare%5cx.js", "//host/share/x.js", "C:\\x", "C:/x"),
    *("file:///etc/passwd", "http://host/x.js", "./playground.js/x"),
    *("", ".", "x" * 5000, "a/" * 2000, "%ff%fe", "con", "aux.js", "~root/x", "$HOME/x", "*"),
)  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda it: ascii(it[:30]))
async def test_cve_2026_48818_path_outside_serves_nothing(service: Running, path: str) -> None:
    request = b"GET /playground/%b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    seen = await exchange(service.port, [request % path.encode("latin-1")])
    [answer] = seen.answers
    assert answer.status in {400, 404}
    assert answer.fields["content-type"] in {"application/problem+json", "application/json"}


async def test_cve_2025_62727_many_ranges_send_no_more_than_the_file(
    service: Running,
) -> None:
    """Ranges that overlap or touch become one."""
    size = (STATIC / "playground.js").stat().st_size
    for ranges in (
        ",".join(["0-"] * RANGES),
        ",".join(f"{at}-{size}" for at in range(RANGES)),
        ",".join(f"{at}-{at}" for at in range(0, 2 * RANGES, 2)),
        ",".join(["-1"] * RANGES),
        ",".join(["5-1"] * RANGES),
        "0-" + "," * 50_000,
    ):
        answer = await fetch(service.port, SCRIPT, headers={"Range": f"bytes={ranges}"})
        assert answer.status in {200, 206, 400, 416}
        assert len(answer.raw) <= max(size, RANGES * 250)
    whole = await fetch(service.port, SCRIPT)
    assert bytes(whole.raw) == (STATIC / "playground.js").read_bytes()
