"""Whether spans are exported, which OpenTelemetry's own environment variables say, and mistakes in them.

The SDK reads the variables itself, and mostly logs a mistake and goes on with a default: traces would be missing when
they are needed. So what it would not accept is refused at the start.

Source: OpenTelemetry specification, "Environment Variables" and "OTLP Exporter Configuration".
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from urllib.parse import urlsplit

from streamsvc import extras
from streamsvc.config.file import one_of, refuse, shown

_EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SAMPLER, _SAMPLER_ARG = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"

_SAMPLERS = (
    *("always_on", "always_off", "traceidratio"),
    *("parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
)
_OTLP = {
    "http/protobuf": ("otlp_proto_http", "streamsvc[otel]"),
    "grpc": ("otlp_proto_grpc", "opentelemetry-exporter-otlp-proto-grpc"),
    "http/json": ("otlp_json_http", "opentelemetry-exporter-otlp-json-http"),
}
"""Protocols of OTLP, each with the entry point of its exporter and what installs it."""

_DEFAULT_PROTOCOL = "http/protobuf"
EXPORTERS = "opentelemetry_traces_exporter"
"""Exporters name themselves in this group of entry points."""


def exports_traces(environ: Mapping[str, str]) -> bool:
    """Return whether spans are exported: an exporter or an endpoint is set, and the SDK is not disabled."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    names = _names(environ)
    return bool(names) or (
        not _given(environ, (_EXPORTER,))[1] and any(map(environ.get, _ENDPOINTS))
    )


def exporter_names(environ: Mapping[str, str]) -> Sequence[str]:
    """Return the entry points of the exporters that are wanted, in the group `opentelemetry_traces_exporter`."""
    protocol = _given(environ, _PROTOCOLS)[1] or _DEFAULT_PROTOCOL
    otlp = _OTLP.get(protocol, _OTLP[_DEFAULT_PROTOCOL])[0]
    return [otlp if name == "otlp" else name for name in _names(environ) or ["otlp"]]


def collector_url(environ: Mapping[str, str]) -> str:
    """Return where spans are sent over OTLP; "" if they are not."""
    if not any(name.startswith("otlp_") for name in exporter_names(environ)):
        return ""
    is_grpc = _given(environ, _PROTOCOLS)[1] == "grpc"
    return _given(environ, _ENDPOINTS)[1] or f"http://localhost:{4317 if is_grpc else 4318}"


def _names(environ: Mapping[str, str]) -> Sequence[str]:
    names = [name.strip() for name in environ.get(_EXPORTER, "").split(",")]
    return [name for name in names if name and name.lower() != "none"]


def _given(environ: Mapping[str, str], variables: Sequence[str]) -> tuple[str, str]:
    """Return the first of some variables that is set, and its value; the last one and "" if none is."""
    values = ((variable, environ.get(variable, "").strip()) for variable in variables)
    return next((it for it in values if it[1]), (variables[-1], ""))


def _check_installed(environ: Mapping[str, str]) -> None:
    variable, text = _given(environ, (_EXPORTER, *_ENDPOINTS))
    if not extras.is_installed("otel"):
        accepted = f"traces only with OpenTelemetry: {extras.install('otel')}, or set OTEL_SDK_DISABLED=true"
        refuse(variable, shown(text, hide_text="@" in text), accepted)
    installed = sorted({it.name for it in entry_points(group=EXPORTERS)})
    packages = dict(_OTLP.values())
    for name in exporter_names(environ):
        if name not in installed:
            package = packages.get(name)
            if package and (protocol := _given(environ, _PROTOCOLS))[1]:
                variable, text = protocol
            accepted = (
                f"this exporter only if it is installed: pip install '{package}'"
                if package
                else one_of(["otlp", "none", *installed])
            )
            refuse(variable, shown(text, hide_text="@" in text), accepted)


def _check_protocol(environ: Mapping[str, str]) -> None:
    variable, protocol = _given(environ, _PROTOCOLS)
    if protocol and protocol not in _OTLP:
        refuse(variable, shown(protocol), one_of(_OTLP))


def _check_endpoint(environ: Mapping[str, str]) -> None:
    variable, url = _given(environ, _ENDPOINTS)
    if not url:
        return
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        accepted = "the URL of an OpenTelemetry collector, such as http://127.0.0.1:4318"
        refuse(variable, shown(url, hide_text="@" in url), accepted)


def _check_sampler(environ: Mapping[str, str]) -> None:
    sampler, text = environ.get(_SAMPLER, ""), environ.get(_SAMPLER_ARG, "")
    if sampler and sampler.lower() not in _SAMPLERS:
        refuse(_SAMPLER, shown(sampler), one_of(_SAMPLERS))
    if not sampler.lower().endswith("traceidratio"):
        return
    try:
        is_fraction = 0 <= float(text or 1) <= 1
    except ValueError:
        is_fraction = False
    if not is_fraction:
        refuse(_SAMPLER_ARG, shown(text), "a number from 0 to 1: the part of traces that are kept")


TRACE_CHECKS: Sequence[Callable[[Mapping[str, str]], None]] = (
    *(_check_protocol, _check_endpoint, _check_sampler, _check_installed),
)
"""Each raises a `ConfigError` if it finds a mistake. They count only if `exports_traces`."""
