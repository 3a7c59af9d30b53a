"""The deployment files in `docs/operate/deploy/`, which are those of the default settings."""

from collections.abc import Mapping
from pathlib import Path

from streamsvc.config.settings import Settings
from streamsvc.deploy.command import FILES
from streamsvc.deploy.plan import Plan

PLACE = Path(__file__).parents[2] / "docs" / "operate" / "deploy"


def files() -> Mapping[str, str]:
    """Return their texts by name."""
    return {name: text(Plan(Settings())) for name, text in FILES.values()}
