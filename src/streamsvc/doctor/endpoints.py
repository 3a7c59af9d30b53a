"""Other servers that the service asks: the issuer of tokens for its keys, the collector of traces."""

from collections.abc import Mapping
from typing import Any

import anyio
import httpx2
import msgspec

from streamsvc.config.settings import Settings
from streamsvc.config.tracing import collector_url, exports_traces
from streamsvc.doctor.clocks import Clocks
from streamsvc.doctor.findings import Finding, Findings, fail, ok, warn
from streamsvc.doctor.places import place_of
from streamsvc.providers.http.errors import TransportError
from streamsvc.providers.http.probe import Probe, Reply

ENDPOINT_SECONDS = 4.0
"""How long a server may take."""


class _Keys(msgspec.Struct):
    """The keys of an issuer (RFC 7517, section 5)."""

    keys: list[dict[str, Any]]


async def check_issuer(settings: Settings, clocks: Clocks) -> Findings:
    """Check that the issuer publishes its keys where the settings say."""
    url = settings.jwt.jwks_url
    reply, probe = await _ask(url)
    if probe is not None and (ahead := probe.ahead) is not None:
        clocks.note("the issuer", ahead)
    return [_judge_keys(place_of(url), reply)]


def _judge_keys(place: str, reply: Reply | None) -> Finding:
    what, advice = "issuer", "check jwt.jwks_url: without its keys, no token is accepted"
    if reply is None:
        return fail(what, f"{place}: no answer", advice)
    if reply.status != httpx2.codes.OK:
        return fail(what, f"{place}: HTTP {reply.status}", advice)
    try:
        count = len(msgspec.json.decode(reply.body, type=_Keys).keys)
    except msgspec.DecodeError:
        return fail(what, f"{place}: something else than keys", advice)
    return (
        ok(what, f"{place} publishes {count} keys")
        if count
        else fail(what, f"{place}: no key", advice)
    )


async def check_collector(environ: Mapping[str, str]) -> Findings:
    """Check that the collector of traces takes connections, if traces are exported to one."""
    url = collector_url(environ) if exports_traces(environ) else ""
    if not url:
        return []
    _, probe = await _ask(url)
    if probe is not None and "TCP" in probe.steps.seconds:
        return [ok("traces", f"the collector at {place_of(url)} takes connections")]
    advice = "check OTEL_EXPORTER_OTLP_ENDPOINT; until then, spans are lost and answers are not"
    return [warn("traces", f"no collector takes connections at {place_of(url)}", advice)]


async def _ask(url: str) -> tuple[Reply | None, Probe | None]:
    """Return what a server answers, if it does, and how it was reached, if that was tried."""
    probe = None
    try:
        probe = Probe(url, connect_seconds=ENDPOINT_SECONDS)
        with anyio.fail_after(ENDPOINT_SECONDS):
            return await probe.ask(httpx2.Request("GET", url)), probe
    except (TransportError, TimeoutError):
        return None, probe
    finally:
        if probe is not None:
            probe.close()
