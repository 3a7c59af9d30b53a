"""The front: everything between HTTP and the engine, made from one state of the settings.

A reload makes another front over the same `Core`, and gives it the requests that come from then on. A request, and a
stream, keeps the front that it came to, so no part of it has to know that settings can change.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from streamsvc.config.settings import CorsSettings, Settings
from streamsvc.dialects.ai_sdk.request import UIMessageParser
from streamsvc.dialects.native.frames import NativeDialect
from streamsvc.dialects.native.request import NativeRequestParser
from streamsvc.dialects.native.text import TextDialect
from streamsvc.dialects.openai.request import ChatCompletionParser
from streamsvc.dialects.plain.frames import PlainDialect
from streamsvc.dialects.request import RequestBuilder
from streamsvc.engine.entries import Terms
from streamsvc.engine.supervisor import Supervisor
from streamsvc.guard.authentication import Authenticator
from streamsvc.hooks import Hooks
from streamsvc.principals import Principal
from streamsvc.sharing import Sharing
from streamsvc.telemetry.metrics import Metrics
from streamsvc.telemetry.peers import Peers
from streamsvc.telemetry.report import Reporter
from streamsvc.tracecontext import Traces
from streamsvc.web.access import AccessControl, Endpoint
from streamsvc.web.addresses import is_openai
from streamsvc.web.ai_sdk import UIMessageEndpoints, refusal_text
from streamsvc.web.bodies import Bodies, BodyReader
from streamsvc.web.cors import Cors
from streamsvc.web.creation import Creation
from streamsvc.web.demo import DemoEndpoints
from streamsvc.web.headers import SecurityHeaders
from streamsvc.web.hosts import HostGuard, Hosts
from streamsvc.web.native import GenerationEndpoints
from streamsvc.web.openai import SDK_HEADERS, ChatCompletionEndpoints, error_response
from streamsvc.web.operations import OperationEndpoints
from streamsvc.web.operations_page import OperationsPage
from streamsvc.web.operators import Operators
from streamsvc.web.origins import Origins
from streamsvc.web.playground import Playground
from streamsvc.web.problems import CrashGuard, Guard, Problems
from streamsvc.web.refusals import Refusals
from streamsvc.web.request_log import RequestLog
from streamsvc.web.routes import routes
from streamsvc.web.routing import Routing
from streamsvc.web.running import RunningRequests
from streamsvc.web.stream.shutdown import Shutdown
from streamsvc.web.stream.streams import Streams
from streamsvc.web.tickets import TicketEndpoints
from streamsvc.web.viewing import Viewing


@dataclass(frozen=True)
class Core:
    """What every front uses: it lives as long as the service; the settings may change.

    Attributes:
        hooks: get reports of what happens.
        traces: makes the spans of requests.
        metrics: the figures of this process.
        reporter: knows what this process does, for the operators' page.
        peers: ask the other workers, if there are any.
        environ: has the key of the metrics.
        sharing: log, directory, limiter and tickets.
        supervisor: runs the generations.
        authenticator: knows the callers; None if the service asks for no credential.
        running: the requests of each credential.
        bodies: those that are being read.
        shutdown: how a stream learns that a server other than ours stops.
        guard: whether the application runs.
    """

    hooks: Hooks
    traces: Traces
    metrics: Metrics
    reporter: Reporter
    peers: Peers
    environ: Mapping[str, str]
    sharing: Sharing
    supervisor: Supervisor
    authenticator: Authenticator | None
    running: RunningRequests
    bodies: Bodies
    shutdown: Shutdown
    guard: Guard


@dataclass(frozen=True)
class Front:
    """What requests are given to.

    Attributes:
        app: has the routes.
        answer: the outermost of its middleware.
        hosts: the hosts that it accepts.
    """

    app: Starlette
    answer: ASGIApp
    hosts: Hosts


def create_front(core: Core, terms: Terms) -> Front:
    """Make the front for one state of the settings."""
    settings, sharing = terms.settings, core.sharing
    parts = _parts(core, terms)
    operators = Operators.of(settings.metrics, core.environ)
    demo = DemoEndpoints(sharing.producers) if sharing.producers else None
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
                supervisor=core.supervisor,
                default_provider=settings.provider,
                troubles=sharing.troubles,
                is_refusing=sharing.is_refusing,
            ),
            playground=Playground(is_demo=demo is not None)
            if settings.playground.enabled
            else None,
            metrics=_metrics(core, operators),
            overview=_overview(core, operators),
            demo=demo,
            control=AccessControl(
                core.authenticator,
                Principal(limits=settings.principal_limits),
                core.running,
                operators,
            ),
        ),
    )
    # Not `app` itself: `CrashGuard` and `Routing` do the work of its middleware and its router with fewer coroutines.
    answer: ASGIApp = Routing(app.router)
    for layer, args, options in reversed(
        (
            Middleware(RequestLog, core.hooks, core.traces),
            Middleware(SecurityHeaders),
            *_host_guard(hosts, problems),
            *_cors(settings.cors, parts.origins, problems),
            Middleware(CrashGuard, problems, core.guard),
        )
    ):
        answer = layer(answer, *args, **options)
    return Front(app, answer, hosts)


@dataclass(frozen=True)
class _Parts:
    """The objects that endpoints share."""

    core: Core
    settings: Settings
    streams: Streams
    viewing: Viewing
    creation: Creation
    builder: RequestBuilder
    origins: Origins
    refusals: Refusals


def _parts(core: Core, terms: Terms) -> _Parts:
    settings, supervisor, log = terms.settings, core.supervisor, core.sharing.log
    origins = Origins(settings.cors.origins)
    streams = Streams(log, supervisor.viewer, settings.stream, core.shutdown, core.hooks)
    refusals = Refusals(core.hooks)
    viewing = Viewing(
        supervisor=supervisor,
        log=log,
        streams=streams,
        refusals=refusals,
        dialects={"json": NativeDialect(), "plain": PlainDialect(), "text": TextDialect()},
        settings=settings.stream,
        hooks=core.hooks,
    )
    return _Parts(
        core=core,
        settings=settings,
        streams=streams,
        viewing=viewing,
        creation=Creation(supervisor, terms, BodyReader(settings.limits, core.bodies), origins),
        builder=RequestBuilder(
            default_provider=settings.provider,
            models={name: entry.model for name, entry in settings.providers.items()},
            limits=settings.limits,
            generations=settings.generations,
        ),
        origins=origins,
        refusals=refusals,
    )


def _metrics(core: Core, operators: Operators) -> Endpoint | None:
    """Return the endpoint for Prometheus, if there is one."""
    if operators.access == "off":
        return None
    from streamsvc.web.metrics import MetricsEndpoint  # noqa: PLC0415  # imports prometheus-client

    return MetricsEndpoint(core.metrics, core.peers).show


def _overview(core: Core, operators: Operators) -> OperationsPage | None:
    """Return the operators' page, if there is one."""
    if operators.access == "off":
        return None
    return OperationsPage(core.reporter, core.peers, operators)


def _generations(parts: _Parts) -> GenerationEndpoints:
    return GenerationEndpoints(
        supervisor=parts.core.supervisor,
        log=parts.core.sharing.log,
        creation=parts.creation,
        viewing=parts.viewing,
        parser=NativeRequestParser(parts.builder),
        settings=parts.settings.stream,
    )


def _chat_completions(parts: _Parts) -> ChatCompletionEndpoints:
    return ChatCompletionEndpoints(
        supervisor=parts.core.supervisor,
        creation=parts.creation,
        streams=parts.streams,
        parser=ChatCompletionParser(parts.builder, parts.settings.providers),
        settings=parts.settings.stream,
    )


def _ui_messages(parts: _Parts) -> UIMessageEndpoints:
    settings, sharing = parts.settings, parts.core.sharing
    return UIMessageEndpoints(
        supervisor=parts.core.supervisor,
        log=sharing.log,
        creation=parts.creation,
        streams=parts.streams,
        parser=UIMessageParser(parts.builder, settings.ai_sdk, settings.generations),
        directory=sharing.directory,
        hooks=parts.core.hooks,
    )


def _tickets(parts: _Parts) -> TicketEndpoints:
    core = parts.core
    return TicketEndpoints(
        tickets=core.sharing.tickets,
        supervisor=core.supervisor,
        log=core.sharing.log,
        creation=parts.creation,
        viewing=parts.viewing,
        parser=NativeRequestParser(parts.builder),
        is_revoked=core.authenticator.is_revoked if core.authenticator else lambda _: False,
        settings=parts.settings.stream,
        seconds=parts.settings.auth.ticket_seconds,
    )


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
                *("traceparent", "tracestate"),  # a page's tracing sends both, or asks for neither
                *SDK_HEADERS,
            ],
            expose_headers=[
                *("Location", "Retry-After", "WWW-Authenticate"),
                *("X-Generation-Id", "X-Should-Retry"),
            ],
            max_age=600,
        )
    ]
