"""What every test has: one HTTP library, the asyncio backend, and promises that can be cited."""

import httpx2

httpx2.alias_httpx()  # respx patches httpx by name; it has to find httpx2 there

import os  # noqa: E402
from collections.abc import AsyncIterator, Awaitable, Callable  # noqa: E402
from contextlib import AsyncExitStack  # noqa: E402
from typing import NoReturn  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402

pytest.register_assert_rewrite("conformance")

from loops import on_asyncio  # noqa: E402
from promises import PLANNED, PROMISES  # noqa: E402
from service import Service, serving  # noqa: E402
from streamsvc.settings import Settings  # noqa: E402

hypothesis.settings.register_profile("streamsvc", deadline=None)
hypothesis.settings.load_profile("streamsvc")

CITED = pytest.StashKey[set[str]]()

Serve = Callable[..., Awaitable[Service]]
"""`service = await serve(settings)`, or `await serve(settings, environ)`."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Collect the promises that tests cite; an unknown one is a mistake."""
    cited = {mark.args[0] for item in items for mark in item.iter_markers("promise")}
    if unknown := cited - PROMISES.keys() - PLANNED.keys():
        raise pytest.UsageError(f"No such promise: {', '.join(sorted(unknown))}")
    config.stash[CITED] = cited


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return on_asyncio()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start services on real sockets; they are stopped after the test."""
    async with AsyncExitStack() as stack:

        async def start(settings: Settings, environ: dict[str, str] | None = None) -> Service:
            return await stack.enter_async_context(serving(settings, environ or {}))

        yield start


def missing(what: str) -> NoReturn:
    """Skip a test whose part is missing on this machine; under CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI has to have it")
    pytest.skip(f"{what} is missing on this machine")
