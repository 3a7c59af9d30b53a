"""The composition root: the one place where objects are created and connected.

`create_app` builds the service. Importing a module of this package has one effect, which is a dependency's:
sse-starlette replaces `uvicorn.Server.handle_exit`. `server/lifecycle.py` overrides that method, so under
`streamsvc serve` the replacement is never called; `tests/test_importing.py` looks for other effects.
"""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware

from streamsvc.config.settings import CorsSettings, Settings
from streamsvc.dialects.ai_sdk.request import UIMessageParser
from streamsvc.dialects.native.frames import NativeDialect
from streamsvc.dialects.native.request import NativeRequestParser
from streamsvc.dialects.native.text import TextDialect
from streamsvc.dialects.openai.request import ChatCompletionParser
from streamsvc.dialects.plain.frames import PlainDialect
from streamsvc.dialects.request import RequestBuilder
from streamsvc.engine.directory.base import Directory
from streamsvc.engine.supervisor import Supervisor
from streamsvc.eventlog.base import EventLog
from streamsvc.guard.authentication import Authenticator
from streamsvc.guard.keys import KeyAuthenticator
from streamsvc.guard.schemes import KEY, TOKEN, CredentialSchemes
from streamsvc.hooks import Hooks
from streamsvc.messages import Prompt
from streamsvc.principals import Principal
from streamsvc.providers.registry import ProviderRegistry
from streamsvc.sharing import Sharing, in_memory
from streamsvc.telemetry.log_lines import LogLines
from streamsvc.traces import describe
from streamsvc.web.access import AccessControl
from streamsvc.web.addresses import is_openai
from streamsvc.web.ai_sdk import UIMessageEndpoints, refusal_text
from streamsvc.web.bodies import BodyReader
from streamsvc.web.cors import Cors
from streamsvc.web.creation import Creation
from streamsvc.web.demo import DemoEndpoints
from streamsvc.web.headers import SecurityHeaders
from streamsvc.web.hosts import HostGuard, Hosts
from streamsvc.web.native import GenerationEndpoints
from streamsvc.web.openai import SDK_HEADERS, ChatCompletionEndpoints, error_response
from streamsvc.web.operations import OperationEndpoints
from streamsvc.web.origins import Origins
from streamsvc.web.playground import Playground
from streamsvc.web.problems import CrashGuard, Guard, Problems
from streamsvc.web.refusals import Refusals
from streamsvc.web.request_log import RequestLog
from streamsvc.web.routes import routes
from streamsvc.web.stream.shutdown import Shutdown
from streamsvc.web.stream.streams import Streams
from streamsvc.web.tickets import TicketEndpoints
from streamsvc.web.viewing import Viewing

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Parts:
    """The objects that endpoints share."""

    settings: Settings
    sharing: Sharing
    log: EventLog
    providers: ProviderRegistry
    directory: Directory
    supervisor: Supervisor
    authenticator: Authenticator | None
    shutdown: Shutdown
    streams: Streams
    viewing: Viewing
    creation: Creation
    builder: RequestBuilder
    origins: Origins
    refusals: Refusals

    @property
    def background(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs as long as the service."""
        known = () if self.authenticator is None else (self.authenticator.run,)
        return (*self.sharing.background, *known)


def create_app(
    settings: Settings, environ: Mapping[str, str], demo_worker: int | None = None
) -> Starlette:
    """Build the service.

    Args:
        settings: the whole configuration.
        environ: holds the providers' keys.
        demo_worker: the number of this worker, if it is one of a demo; `log.kind` is then `redis`.

    Raises:
        ConfigError: the keys file has a mistake.

    Returns:
        An ASGI application; its `state` has the `supervisor`, the `log`, the `directory`, the `providers`, the `guard`,
        the `tickets` and the `hooks`. It needs a server that runs on asyncio and sends lifespan events; before the startup event, every
        request gets a 503.
    """
    hooks = Hooks()
    LogLines(hooks)
    parts = _create_parts(settings, environ, hooks, _sharing(settings, hooks, demo_worker))
    producers = parts.sharing.producers
    demo = DemoEndpoints(producers) if producers else None
    guard = Guard()
    hosts = Hosts(settings.server)
    problems = Problems(
        {error_response: is_openai, refusal_text: lambda path: path.startswith("/api/chat")},
        parts.refusals,
    )
    app = Starlette(
        routes=routes(
            generations=_generations(parts),
            chat_completions=_chat_completions(parts),
            ui_messages=_ui_messages(parts),
            tickets=_tickets(parts),
            operations=OperationEndpoints(
                supervisor=parts.supervisor,
                default_provider=settings.provider,
                troubles=parts.sharing.troubles,
                is_refusing=parts.sharing.is_refusing,
            ),
            playground=Playground(is_demo=demo is not None)
            if settings.playground.enabled
            else None,
            demo=demo,
            control=AccessControl(parts.authenticator, Principal(limits=settings.principal_limits)),
        ),
        lifespan=_lifespan(parts, guard, hosts),
        middleware=[
            Middleware(RequestLog, hooks),
            Middleware(SecurityHeaders),
            *_host_guard(hosts, problems),
            *_cors(settings.cors, parts.origins, problems),
            Middleware(CrashGuard, problems, guard),
        ],
        exception_handlers=problems.handlers,
    )
    app.router.redirect_slashes = False  # a redirect would be built from the client's Host
    app.state.supervisor, app.state.directory = parts.supervisor, parts.directory
    app.state.log, app.state.providers, app.state.guard = parts.log, parts.providers, guard
    app.state.tickets, app.state.hooks = parts.sharing.tickets, hooks
    return app


def _create_parts(
    settings: Settings, environ: Mapping[str, str], hooks: Hooks, sharing: Sharing
) -> _Parts:
    log, directory = sharing.log, sharing.directory
    providers = ProviderRegistry(settings.providers, environ)
    supervisor = Supervisor(
        providers=providers,
        log=log,
        directory=directory,
        limiter=sharing.limiter,
        hooks=hooks,
        settings=settings,
        id_mark=sharing.id_mark,
    )
    shutdown = Shutdown(settings.server.drain_seconds)
    origins = Origins(settings.cors.origins)
    streams = Streams(log, supervisor.viewer, settings.stream, shutdown, hooks)
    refusals = Refusals(hooks)
    viewing = Viewing(
        supervisor=supervisor,
        log=log,
        streams=streams,
        refusals=refusals,
        dialects={"json": NativeDialect(), "plain": PlainDialect(), "text": TextDialect()},
        settings=settings.stream,
    )
    return _Parts(
        settings=settings,
        sharing=sharing,
        log=log,
        providers=providers,
        directory=directory,
        supervisor=supervisor,
        authenticator=_authenticator(settings),
        shutdown=shutdown,
        streams=streams,
        viewing=viewing,
        creation=Creation(supervisor, BodyReader(settings.limits), origins),
        builder=RequestBuilder(
            default_provider=settings.provider,
            models={name: entry.model for name, entry in settings.providers.items()},
            limits=settings.limits,
            generations=settings.generations,
        ),
        origins=origins,
        refusals=refusals,
    )


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


def _generations(parts: _Parts) -> GenerationEndpoints:
    return GenerationEndpoints(
        supervisor=parts.supervisor,
        log=parts.log,
        creation=parts.creation,
        viewing=parts.viewing,
        parser=NativeRequestParser(parts.builder),
        settings=parts.settings.stream,
    )


def _chat_completions(parts: _Parts) -> ChatCompletionEndpoints:
    return ChatCompletionEndpoints(
        supervisor=parts.supervisor,
        creation=parts.creation,
        streams=parts.streams,
        parser=ChatCompletionParser(parts.builder, parts.settings.providers),
        settings=parts.settings.stream,
    )


def _ui_messages(parts: _Parts) -> UIMessageEndpoints:
    settings = parts.settings
    return UIMessageEndpoints(
        supervisor=parts.supervisor,
        log=parts.log,
        creation=parts.creation,
        streams=parts.streams,
        parser=UIMessageParser(parts.builder, settings.ai_sdk, settings.generations),
        directory=parts.directory,
    )


def _tickets(parts: _Parts) -> TicketEndpoints:
    return TicketEndpoints(
        tickets=parts.sharing.tickets,
        supervisor=parts.supervisor,
        log=parts.log,
        creation=parts.creation,
        viewing=parts.viewing,
        parser=NativeRequestParser(parts.builder),
        is_revoked=parts.authenticator.is_revoked if parts.authenticator else lambda _: False,
        settings=parts.settings.stream,
        seconds=parts.settings.auth.ticket_seconds,
    )


def _lifespan(
    parts: _Parts, guard: Guard, hosts: Hosts
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    supervisor, server = parts.supervisor, parts.settings.server

    async def drain_at_shutdown() -> None:
        """Drain under a server that is not ours; ours calls `Supervisor.drain` itself."""
        await parts.shutdown.begun.wait()
        await supervisor.drain(server.drain_seconds)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with parts.providers, anyio.create_task_group() as tasks:
            for work in parts.background:  # it stores the ends of what runs at the very end
                tasks.start_soon(work)
            async with supervisor:
                tasks.start_soon(drain_at_shutdown, name="drain")
                # Now and not later: a fallback is first called in the middle of an outage.
                for entry in supervisor.entries.route(parts.settings.provider, Prompt(messages=())):
                    await entry.provider()
                await parts.sharing.prepare()
                hosts.announce()
                guard.has_started = True
                yield
                guard.has_started = False
            await parts.sharing.finish()
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
            logger.critical("service.crashed %s (this process ends)", describe(exc))

    return lifespan


def _host_guard(hosts: Hosts, problems: Problems) -> list[Middleware]:
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
                *("Authorization", "X-API-Key", "API-Key"),
                *("Content-Type", "Idempotency-Key", "Last-Event-ID"),
                *SDK_HEADERS,
            ],
            expose_headers=[
                *("Location", "Retry-After", "WWW-Authenticate"),
                *("X-Generation-Id", "X-Should-Retry"),
            ],
            max_age=600,
        )
    ]
