"""Makes extras look as if they were not installed."""

import importlib.util

import pytest

from streamsvc import extras


def lack(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Hide modules, and what they contain, from `extras`."""
    usual = importlib.util.find_spec

    monkeypatch.setattr(
        extras, "find_spec", lambda name: None if name.startswith(modules) else usual(name)
    )
