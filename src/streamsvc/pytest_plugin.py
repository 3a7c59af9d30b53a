"""Fixtures for pytest, which finds them by itself (entry point `pytest11`); nothing is imported before they are used."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from streamsvc.testing.server import Server


@pytest.fixture(scope="session")
def streamsvc_settings() -> Mapping[str, Any]:
    """The settings of `streamsvc_server`; override it in a `conftest.py`, with the same scope."""
    return {}


@pytest.fixture(scope="session")
def streamsvc_server(streamsvc_settings: Mapping[str, Any]) -> "Iterator[Server]":
    """A service on a free port, for the whole run: a `streamsvc.testing.Server`."""
    from streamsvc.testing.server import serve  # noqa: PLC0415  # a run without it does not pay for the import

    with serve(streamsvc_settings) as server:
        yield server
