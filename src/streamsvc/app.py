"""The composition root: where the objects are made that live as long as the service, and where fronts are swapped.

`create_app` builds the service. Importing a module of this package has one effect, which is a dependency's:
sse-starlette replaces `uvicorn.Server.handle_exit`. `server/lifecycle.py` overrides that method, so under
`streamsvc serve` the replacement is never called; `tests/test_importing.py` looks for other effects.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import anyio
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from streamsvc.config.changes import differences
from streamsvc.config.paths import dotted
from streamsvc.config.settings import Settings
from streamsvc.config.tracing import exports_traces
from streamsvc.engine.entries import Terms
from streamsvc.engine.supervisor import Supervisor
from streamsvc.front import Core, create_front
from streamsvc.guard.authentication import Authenticator
from streamsvc.guard.keys import KeyAuthenticator
from streamsvc.guard.schemes import KEY, TOKEN, CredentialSchemes
from streamsvc.hooks import Hooks, SettingsReloaded
from streamsvc.log_line import log
from streamsvc.messages import Prompt
from streamsvc.providers.registry import ProviderRegistry
from streamsvc.sharing import Sharing, in_memory
from streamsvc.telemetry.conventions import GEN_AI, Convention
from streamsvc.telemetry.gauges import watch_engine, watch_store
from streamsvc.telemetry.log_lines import LogLines
from streamsvc.telemetry.metrics import Metrics
from streamsvc.telemetry.peers import Peers
from streamsvc.telemetry.place import ALONE, Place
from streamsvc.telemetry.recent import Recent
from streamsvc.telemetry.report import Reporter
from streamsvc.tracecontext import Traces
from streamsvc.traces import fields_of
from streamsvc.web.bodies import Bodies
from streamsvc.web.problems import Guard
from streamsvc.web.running import RunningRequests
from streamsvc.web.stream.shutdown import Shutdown

if TYPE_CHECKING:
    from streamsvc.telemetry.otel import TraceExport

logger = logging.getLogger(__name__)


class Service(Starlette):
    """The service as an ASGI application: each request goes to the front of the settings as they are when it comes.

    It needs a server that runs on asyncio and sends lifespan events; before the startup event, every request gets a
    503. Its `state` has the `supervisor`, the `log`, the `directory`, the `guard`, the `tickets`, the `hooks` and the
    `metrics`.

    Args:
        core: what all fronts use.
        providers: of the first settings.
        drain_seconds: how long a drain may take under a server that is not ours.
        export: entered while the service runs, and left when all spans are made.
    """

    def __init__(
        self,
        core: Core,
        providers: ProviderRegistry,
        drain_seconds: float,
        export: AbstractAsyncContextManager[object],
    ) -> None:
        self._core = core
        self._providers = providers
        self._front = create_front(core, core.supervisor.terms)
        lifespan = _lifespan(core, providers, self._announce, drain_seconds, export)
        super().__init__(lifespan=lifespan)
        self.state.supervisor, self.state.guard = core.supervisor, core.guard
        self.state.log, self.state.directory = core.sharing.log, core.sharing.directory
        self.state.tickets, self.state.hooks = core.sharing.tickets, core.hooks
        self.state.metrics = core.metrics

    @property
    @override
    def routes(self) -> list[BaseRoute]:
        return self._front.app.routes

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the front. As in Starlette's own, this is the only frame that a stream keeps above the middleware."""
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        front = self._front
        scope["app"] = front.app
        await front.answer(scope, receive, send)

    @property
    def settings(self) -> Settings:
        """The settings of new requests."""
        return self._core.supervisor.terms.settings

    async def prepare(self) -> None:
        """Open the providers whose keys are set; see `ProviderRegistry.open_ready`."""
        await self._providers.open_ready()

    async def reload(self, settings: Settings) -> None:
        """Serve new requests with other settings; what runs keeps its own.

        Whatever cannot change while the service runs must be equal in both (`config.changes`).

        Raises:
            ConfigError: the keys file does not fit these settings. Nothing has changed.
        """
        core, before = self._core, self._core.supervisor.terms
        commit = core.authenticator and await core.authenticator.prepare(settings)
        providers = self._providers.successor(settings.providers)
        terms = Terms(settings, before.entries.successor(providers))
        await providers.open_ready()
        # From here on nothing waits: all of it changes between two events of the loop.
        if commit:
            commit()
        core.sharing.use(settings)
        core.supervisor.use(terms)
        core.metrics.use(settings.providers)
        changed = [dotted(path) for path in differences(before.settings, settings)]
        core.hooks.notify(SettingsReloaded(changed=changed))
        self._providers, self._front = providers, create_front(core, terms)
        self._announce()

    def _announce(self) -> None:
        self._front.hosts.announce()


def create_app(
    settings: Settings,
    environ: Mapping[str, str],
    demo_worker: int | None = None,
    place: Place = ALONE,
) -> Service:
    """Build the service.

    Args:
        settings: the whole configuration.
        environ: holds the providers' keys.
        demo_worker: the number of this worker, if it is one of a demo; `log.kind` is then `redis`.
        place: of this worker among others, if there are any.

    Raises:
        ConfigError: the keys file has a mistake.
    """
    hooks = Hooks()
    LogLines(hooks, access_log=settings.server.access_log)
    export = _trace_export(hooks, environ)
    traces = Traces(export.sampling if export else None)
    sharing = _sharing(settings, hooks, demo_worker)
    providers = ProviderRegistry(settings.providers, environ)
    supervisor = _supervisor(settings, hooks, traces, sharing, providers)
    authenticator, running = _authenticator(settings), RunningRequests()
    if authenticator is not None:
        authenticator.on_revoked(running.cut)
    recent = Recent(hooks)  # it has to hear of everything before the metrics count it
    metrics = _metrics(settings, environ, hooks, supervisor, sharing)
    core = Core(
        hooks=hooks,
        traces=traces,
        metrics=metrics,
        reporter=_reporter(recent, metrics, environ, supervisor, sharing),
        peers=Peers(place),
        environ=environ,
        sharing=sharing,
        supervisor=supervisor,
        authenticator=authenticator,
        running=running,
        bodies=Bodies(),
        shutdown=Shutdown(settings.server.drain_seconds),
        guard=Guard(),
    )
    return Service(core, providers, settings.server.drain_seconds, export or nullcontext())


def _trace_export(hooks: Hooks, environ: Mapping[str, str]) -> "TraceExport | None":
    if not exports_traces(environ):
        return None
    from streamsvc.telemetry.otel import TraceExport  # noqa: PLC0415  # the SDK is only needed here

    return TraceExport(hooks, environ)


def _supervisor(
    settings: Settings,
    hooks: Hooks,
    traces: Traces,
    sharing: Sharing,
    providers: ProviderRegistry,
) -> Supervisor:
    return Supervisor(
        providers=providers,
        log=sharing.log,
        directory=sharing.directory,
        limiter=sharing.limiter,
        hooks=hooks,
        settings=settings,
        id_mark=sharing.id_mark,
        traces=traces,
    )


def _reporter(
    recent: Recent,
    metrics: Metrics,
    environ: Mapping[str, str],
    supervisor: Supervisor,
    sharing: Sharing,
) -> Reporter:
    """Return what says how this process does, for the operators' page."""
    return Reporter(
        recent,
        metrics,
        GEN_AI[Convention.of(environ)],
        entries=lambda: supervisor.entries,
        troubles=lambda: [it.code for it in sharing.troubles()],
    )


def _metrics(
    settings: Settings,
    environ: Mapping[str, str],
    hooks: Hooks,
    supervisor: Supervisor,
    sharing: Sharing,
) -> Metrics:
    """Return the figures of this process."""
    metrics = Metrics(hooks, settings.providers, Convention.of(environ))
    watch_engine(metrics, supervisor, sharing.log_bytes)
    if sharing.store is not None:
        watch_store(metrics, sharing.store)
    return metrics


def _sharing(settings: Settings, hooks: Hooks, demo_worker: int | None) -> Sharing:
    if settings.log.kind == "memory":
        return in_memory(settings)
    from streamsvc.sharing_redis import in_redis  # noqa: PLC0415  # redis-py is only needed here

    return in_redis(settings, hooks, demo_worker)


def _authenticator(settings: Settings) -> Authenticator | None:
    """Return what knows the callers; None if the service asks for no credential.

    Raises:
        ConfigError: the keys file has a mistake.
    """
    known: dict[str, Authenticator] = {}
    if settings.auth.keys_file:
        known[KEY] = KeyAuthenticator(settings)
    if settings.jwt.issuer:
        from streamsvc.guard.jwt import JWTAuthenticator  # noqa: PLC0415  # joserfc is only needed here

        known[TOKEN] = JWTAuthenticator(settings.jwt, settings.principal_limits)
    return CredentialSchemes(known) if known else None


async def _open_usual(supervisor: Supervisor) -> None:
    """Open the providers of the default route now: a fallback is first called in the middle of an outage."""
    usual = supervisor.terms.settings.provider
    for entry in supervisor.entries.route(usual, Prompt(messages=())):
        await entry.provider()


def _lifespan(
    core: Core,
    providers: ProviderRegistry,
    announce: Callable[[], None],
    drain_seconds: float,
    export: AbstractAsyncContextManager[object],
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    supervisor, sharing, guard = core.supervisor, core.sharing, core.guard
    known = () if core.authenticator is None else (core.authenticator.run,)

    async def drain_at_shutdown() -> None:
        """Drain under a server that is not ours; ours calls `Supervisor.drain` itself."""
        await core.shutdown.begun.wait()
        await supervisor.drain(drain_seconds)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with export, providers, anyio.create_task_group() as tasks:
            # Before the supervisor, and cancelled after it: the store gets the ends of what runs at the very end.
            for work in (*sharing.background, *known, core.peers.run):
                tasks.start_soon(work)
            async with supervisor:
                tasks.start_soon(drain_at_shutdown, name="drain")
                await _open_usual(supervisor)
                await sharing.prepare()
                announce()
                guard.has_started = True
                yield
                guard.has_started = False
            await sharing.finish()
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        """Run; after a bug in a background task, refuse every request, because nothing works without it."""
        try:
            async with running():
                yield
        except Exception as exc:
            if not guard.has_started:
                raise
            guard.has_started, guard.has_crashed = False, True
            note = "this process ends"
            log(logger, logging.CRITICAL, "service.crashed", note, **fields_of(exc))

    return lifespan
