"""`docs/operate/watch.md` and `docs/reference/metrics.md` configure a Prometheus that accepts it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.parts import find
from support.watching import alerts

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in ("operate/watch.md", "reference/metrics.md")
    for number, block in enumerate(
        re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    )
]


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("block", BLOCKS)
def test_prometheus_accepts_the_settings_of_the_pages(block: str, tmp_path: Path) -> None:
    shutil.copy(alerts.PAGE, tmp_path)
    (tmp_path / "streamsvc.key").write_text("key")
    config = tmp_path / "prometheus.yml"
    config.write_text(block.replace("/etc/prometheus/", f"{tmp_path}/"))
    subprocess.run([find("promtool"), "check", "config", config], check=True, timeout=60)
