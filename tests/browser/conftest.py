"""Fixtures for tests in browsers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from browser.pages import site


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[str]:
    """Serve the test's directory."""
    with site(tmp_path) as url:
        yield url
