"""Fixtures that many modules need, as functions that make one: `service = shared_service(settings)`."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

from streamsvc.config.settings import Settings
from support.process import Running, serve, write_config
from support.service import Service, serving
from support.upstreams import Upstream, upstream


def shared_service(settings: Settings) -> Any:
    """Return a fixture: a service in the test's event loop, one for all tests of a module."""

    @pytest.fixture(scope="module")
    async def service() -> AsyncIterator[Service]:
        async with serving(settings, {}) as service:
            yield service

    return service


def shared_process(
    sections: Mapping[str, Mapping[str, object]], settings: Mapping[str, str] | None = None
) -> Any:
    """Return a fixture: `python -m streamsvc serve`, one process for all tests of a module.

    It has to exit with 0 when the module is done.

    Args:
        sections: the tables of its `config.toml`.
        settings: further settings, as environment variables without `STREAMSVC_`.
    """

    @pytest.fixture(scope="module")
    async def process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
        directory = tmp_path_factory.mktemp("serve")
        write_config(directory, sections)
        async with serve(directory, settings or {}) as running:
            yield running
            assert await running.terminate() == 0

    return process


def quiet_service(*expected: str) -> Any:
    """Return a fixture: the module's `process`, which logs no warning or error during a test.

    Args:
        expected: patterns of warnings that are fine.
    """

    @pytest.fixture
    def service(process: Running) -> Iterator[Running]:
        since = len(process.output)
        yield process
        process.assert_quiet(*expected, since=since)

    return service


def fresh_upstream() -> Any:
    """Return a fixture: a scripted upstream for each test."""

    @pytest.fixture
    async def api() -> AsyncIterator[Upstream]:
        async with upstream() as api:
            yield api

    return api
