"""Shared by all tests: one HTTP library, the asyncio backend, fixtures, and promises to cite."""

import httpx2

httpx2.alias_httpx()  # respx patches httpx by name, and must find httpx2 there

import gc  # noqa: E402
import os  # noqa: E402
import ssl  # noqa: E402
import sys  # noqa: E402
import warnings  # noqa: E402
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator  # noqa: E402
from contextlib import AsyncExitStack, ExitStack, nullcontext  # noqa: E402
from functools import partial  # noqa: E402
from itertools import count  # noqa: E402
from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402

pytest.register_assert_rewrite("conformance", "dialect_conformance")

from streamsvc.config.settings import Settings  # noqa: E402
from support import parts, quiet  # noqa: E402
from support.loops import on_asyncio  # noqa: E402
from support.promises import PLANNED, PROMISES  # noqa: E402
from support.redis_programs import KINDS  # noqa: E402
from support.redis_servers import RedisServer, running_redis  # noqa: E402
from support.service import Service, serving  # noqa: E402
from support.sharing_workers import Workers  # noqa: E402

hypothesis.settings.register_profile(
    "streamsvc", deadline=None, max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "40"))
)
hypothesis.settings.load_profile("streamsvc")

CITED = pytest.StashKey[set[str]]()
BROKE_OFF = pytest.StashKey[bool]()

MOST_WORKERS = 12

TESTS = Path(__file__).parent

UNMEASURED = frozenset({"bench", "browser", "clients", "package", "scale", "serve"})
"""The directories whose tests run without coverage: they take long, and other tests run the same lines."""

KEY_PREFIXES = count()

Serve = Callable[..., Awaitable[Service]]
"""`service = await serve(settings)`, or `await serve(settings, environ)`."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Collect the promises that tests cite, and refuse unknown ones; let long tests begin first.

    A long test that begins last would leave the other workers without work.
    """
    cited = {mark.args[0] for item in items for mark in item.iter_markers("promise")}
    if unknown := cited - PROMISES.keys() - PLANNED.keys():
        raise pytest.UsageError(f"No such promise: {', '.join(sorted(unknown))}")
    if unknown := parts.unknown(items):
        raise pytest.UsageError(f"No such part: {', '.join(sorted(unknown))}")
    config.stash[CITED] = cited
    items.sort(key=lambda item: (not is_marked(item, "quiet"), not is_marked(item, "long")))


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return on_asyncio()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start services on real sockets, and stop them after the test."""
    async with AsyncExitStack() as stack:

        async def start(settings: Settings, environ: dict[str, str] | None = None) -> Service:
            return await stack.enter_async_context(serving(settings, environ or {}))

        yield start


@pytest.fixture(scope="session")
def valkey() -> Iterator[RedisServer]:
    """One Valkey for all tests of this process; each keeps to keys that begin with its `key_prefix`."""
    with running_redis("valkey") as server:
        yield server


@pytest.fixture(scope="module", params=parts.each(KINDS))
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Each Redis that is supported, in turn; one server for all tests of a module."""
    with running_redis(request.param) as server:
        yield server


@pytest.fixture
def workers(valkey: RedisServer, key_prefix: str) -> Workers:
    """Starts workers that share keys in `valkey`."""
    return Workers(valkey.url, key_prefix)


@pytest.fixture
def key_prefix() -> str:
    """A prefix of keys that no other test uses."""
    return f"test{next(KEY_PREFIXES)}"


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(parts.Plugin())
    if hasattr(
        config, "workerinput"
    ):  # a worker of pytest-xdist: it has a folder beside those of the others
        config.pluginmanager.register(Turns(Path(config.option.basetemp).parent))


def pytest_sessionfinish() -> None:
    """End the browser that tests share; a worker of xdist ends without `atexit`."""
    if (shared := sys.modules.get("browser.shared_chromium")) is not None:
        shared.SHARED.close()


def pytest_xdist_auto_num_workers() -> int:
    """Most tests wait most of the time, so more than two of them share a core."""
    return min(5 * (os.cpu_count() or 1) // 2, MOST_WORKERS)


class Turns:
    """Tests with the mark `quiet` run while no other test does, on any worker.

    Those that follow each other keep the turn: the other workers wait for them once.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._quiet = ExitStack()
        self._is_quiet = False

    @pytest.hookimpl(
        wrapper=True, tryfirst=True
    )  # outside of pytest-timeout: waiting is no fault of the test
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        if item.path.parent == TESTS / "bench":
            gc.collect()  # garbage that is freed between two readings of memory would falsify the difference
        if not is_marked(item, "quiet"):
            coverage = quiet.unmeasured() if is_unmeasured(item) else nullcontext()
            with quiet.turn(self._place, quiet=False), coverage:
                return (yield)
        if not self._is_quiet:
            self._quiet.enter_context(quiet.turn(self._place, quiet=True))
            self._is_quiet = True
        try:
            with quiet.unmeasured():
                return (yield)
        finally:
            if nextitem is None or not is_marked(nextitem, "quiet"):
                self._quiet.close()
                self._is_quiet = False


def is_marked(item: pytest.Item, name: str) -> bool:
    return item.get_closest_marker(name) is not None


def is_unmeasured(item: pytest.Item) -> bool:
    """Return whether a test runs without coverage."""
    places = {TESTS / name for name in UNMEASURED}
    return not places.isdisjoint(item.path.parents) or is_marked(item, "unmeasured")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note which tests leave resources in the frames of an exception."""
    report = yield
    if report.failed or (report.skipped and report.when == "call"):
        item.stash[BROKE_OFF] = True
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Free what a failed or skipped test leaves, so that its warnings do not fail the next test."""
    result = yield
    if item.stash.get(BROKE_OFF, False):
        sys.last_value = sys.last_traceback = None  # which pytest keeps for debuggers
        sys.__dict__.pop("last_exc", None)  # kept as well since Python 3.12
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
        sys.unraisablehook = hook
    return result


@pytest.fixture
def no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load no certificates: loading takes longer than a test, and tests with this fixture speak no TLS."""
    bare = partial(ssl.SSLContext, ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: bare())
