"""The composition root: the one place where objects are created and connected.

`create_app` builds the service. Importing a module of this package has one effect, which is a dependency's:
sse-starlette replaces `uvicorn.Server.handle_exit`. `server/lifecycle.py` overrides that method, so under
`streamsvc serve` the replacement is never called; `tests/test_importing.py` looks for other effects.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware

from streamsvc.config.settings import CorsSettings, ServerSettings, Settings
from streamsvc.dialects.ai_sdk.request import UIMessageParser
from streamsvc.dialects.native.frames import NativeDialect
from streamsvc.dialects.native.request import NativeRequestParser
from streamsvc.dialects.native.text import TextDialect
from streamsvc.dialects.openai.request import ChatCompletionParser
from streamsvc.dialects.plain.frames import PlainDialect
from streamsvc.dialects.request import RequestBuilder
from streamsvc.engine.directory.memory import MemoryDirectory
from streamsvc.engine.supervisor import Supervisor
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.providers.registry import ProviderRegistry
from streamsvc.web.addresses import is_openai
from streamsvc.web.ai_sdk import UIMessageEndpoints, refusal_text
from streamsvc.web.bodies import BodyReader
from streamsvc.web.cors import Cors
from streamsvc.web.hosts import HostGuard, Hosts
from streamsvc.web.native import GenerationEndpoints
from streamsvc.web.openai import SDK_HEADERS, ChatCompletionEndpoints, error_response
from streamsvc.web.operations import OperationEndpoints
from streamsvc.web.origins import Origins
from streamsvc.web.playground import Playground
from streamsvc.web.problems import CrashGuard, Guard, Problems
from streamsvc.web.refusals import RefusalLog
from streamsvc.web.routes import routes
from streamsvc.web.stream.shutdown import Shutdown
from streamsvc.web.stream.streams import Streams


def create_app(settings: Settings, environ: Mapping[str, str]) -> Starlette:
    """Build the service.

    Args:
        settings: the whole configuration.
        environ: holds the providers' keys.

    Returns:
        An ASGI application; its `state` has the `supervisor`, the `log`, the `directory` and the `providers`. It needs
        a server that runs on asyncio and sends lifespan events; before the startup event every request gets a 503.
    """
    log = MemoryEventLog(settings.generations)
    providers = ProviderRegistry(settings.providers, environ)
    directory = MemoryDirectory(log, settings)
    supervisor = Supervisor(providers=providers, log=log, directory=directory, settings=settings)
    bodies = BodyReader(settings.limits)
    builder = RequestBuilder(
        default_provider=settings.provider,
        limits=settings.limits,
        generations=settings.generations,
    )
    origins, refusals = Origins(settings.cors.origins), RefusalLog()
    drain_seconds = settings.server.drain_seconds
    shutdown = Shutdown(drain_seconds)
    streams = Streams(log, supervisor.viewer, settings.stream, shutdown)
    generations = GenerationEndpoints(
        supervisor=supervisor,
        log=log,
        streams=streams,
        bodies=bodies,
        parser=NativeRequestParser(builder),
        origins=origins,
        refusals=refusals,
        dialects={"json": NativeDialect(), "plain": PlainDialect(), "text": TextDialect()},
        settings=settings.stream,
    )
    chat_completions = ChatCompletionEndpoints(
        supervisor=supervisor,
        streams=streams,
        bodies=bodies,
        parser=ChatCompletionParser(builder, settings.providers),
        origins=origins,
        settings=settings.stream,
    )
    ui_messages = UIMessageEndpoints(
        supervisor=supervisor,
        log=log,
        streams=streams,
        bodies=bodies,
        parser=UIMessageParser(builder, settings.ai_sdk, settings.generations),
        origins=origins,
        directory=directory,
    )
    operations = OperationEndpoints(supervisor=supervisor, default_provider=settings.provider)

    guard = Guard()
    problems = Problems(
        {error_response: is_openai, refusal_text: lambda path: path.startswith("/api/chat")},
        refusals,
    )

    async def drain_at_shutdown() -> None:
        """Drain where the server is not ours, which calls `Supervisor.drain` itself."""
        await shutdown.begun.wait()
        await supervisor.drain(drain_seconds)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with providers, supervisor, anyio.create_task_group() as tasks:
            tasks.start_soon(log.sweep, name="log sweeper")
            tasks.start_soon(drain_at_shutdown, name="drain")
            # Not later: a fallback is first called in the middle of an outage.
            for entry in supervisor.entries.route(settings.provider):
                await entry.provider()
            guard.has_started = True
            yield
            guard.has_started = False
            tasks.cancel_scope.cancel()

    app = Starlette(
        routes=routes(
            generations,
            chat_completions,
            ui_messages,
            operations,
            Playground() if settings.playground.enabled else None,
        ),
        lifespan=lifespan,
        middleware=[
            *_host_guard(settings.server, problems),
            *_cors(settings.cors, origins, problems),
            Middleware(CrashGuard, problems, guard),
        ],
        exception_handlers=problems.handlers,
    )
    app.router.redirect_slashes = False  # a redirect would be built from the client's Host
    app.state.supervisor, app.state.directory = supervisor, directory
    app.state.log, app.state.providers = log, providers
    return app


def _host_guard(settings: ServerSettings, problems: Problems) -> list[Middleware]:
    hosts = Hosts(settings)
    return [Middleware(HostGuard, hosts, problems)] if hosts.is_checked else []


def _cors(settings: CorsSettings, origins: Origins, problems: Problems) -> list[Middleware]:
    if not settings.origins:
        return []
    return [
        Middleware(
            Cors,
            origins,
            problems,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=[
                *("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"),
                *SDK_HEADERS,
            ],
            expose_headers=["Location", "Retry-After", "X-Generation-Id", "X-Should-Retry"],
            max_age=600,
        )
    ]
