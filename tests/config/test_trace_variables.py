"""When spans are exported, and what is refused in OpenTelemetry's variables."""

import re
from collections.abc import Mapping

import pytest

from streamsvc import extras
from streamsvc.config.load import load
from streamsvc.config.tracing import exporter_names, exports_traces
from streamsvc.errors import ConfigError
from support.installed import lack

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environ", "is_on"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", **ENDPOINT}, False),
        ({"OTEL_TRACES_EXPORTER": " None ", **ENDPOINT}, False),
        ({"OTEL_TRACES_EXPORTER": "", **ENDPOINT}, True),
        ({"OTEL_SDK_DISABLED": "true", **ENDPOINT}, False),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({"OTEL_SDK_DISABLED": "false", **ENDPOINT}, True),
        ({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_SERVICE_NAME": "mine"}, False),
    ],
)
def test_the_standard_variables_turn_traces_on(environ: Mapping[str, str], *, is_on: bool) -> None:
    assert exports_traces(environ) is is_on


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        (ENDPOINT, ["otlp_proto_http"]),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ["otlp_proto_http", "console"]),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **ENDPOINT}, ["otlp_proto_grpc"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json", **ENDPOINT}, ["otlp_json_http"]),
    ],
)
def test_the_protocol_chooses_the_exporter(environ: Mapping[str, str], names: list[str]) -> None:
    assert exporter_names(environ) == names


MISTAKES: Mapping[str, tuple[Mapping[str, str], str]] = {
    "no URL": (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"},
        "OTEL_EXPORTER_OTLP_ENDPOINT: found 'localhost:4318'; accepted: the URL of an",
    ),
    "an invalid port": (
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://host:x/v1/traces"},
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: found 'http://host:x/v1/traces'; accepted: the URL",
    ),
    "a password": (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://me:the-secret@host"},
        "OTEL_EXPORTER_OTLP_ENDPOINT: found a string; accepted: the URL of an",
    ),
    "a protocol": (
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http", **ENDPOINT},
        "OTEL_EXPORTER_OTLP_PROTOCOL: found 'http'; accepted: one of 'grpc', 'http/json', ",
    ),
    "an exporter that is not installed": (
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **ENDPOINT},
        "OTEL_EXPORTER_OTLP_PROTOCOL: found 'grpc'; accepted: this exporter only if it is installed: pip install",
    ),
    "an exporter that is named directly": (
        {"OTEL_TRACES_EXPORTER": "otlp_proto_grpc"},
        "OTEL_TRACES_EXPORTER: found 'otlp_proto_grpc'; accepted: this exporter only if it is",
    ),
    "an exporter that nobody knows": (
        {"OTEL_TRACES_EXPORTER": "otlp,zipkins"},
        "OTEL_TRACES_EXPORTER: found 'otlp,zipkins'; accepted: one of 'console', 'none', 'otlp', ",
    ),
    "a sampler": (
        {"OTEL_TRACES_SAMPLER": "sometimes", **ENDPOINT},
        "OTEL_TRACES_SAMPLER: found 'sometimes'; accepted: one of 'always_off', 'always_on', ",
    ),
    "more than all": (
        {
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "1.5",
            **ENDPOINT,
        },
        "OTEL_TRACES_SAMPLER_ARG: found '1.5'; accepted: a number from 0 to 1",
    ),
    "a percentage": (
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1%", **ENDPOINT},
        "OTEL_TRACES_SAMPLER_ARG: found '1%'; accepted: a number from 0 to 1",
    ),
}


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_in_one_line(mistake: str) -> None:
    environ, line = MISTAKES[mistake]
    with pytest.raises(ConfigError, match=f"^{re.escape(line)}") as caught:
        load(None, environ)
    assert "\n" not in str(caught.value)
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_TRACES_SAMPLER": "sometimes"},
        {"OTEL_TRACES_SAMPLER": "sometimes", "OTEL_SDK_DISABLED": "true", **ENDPOINT},
        {
            "OTEL_TRACES_SAMPLER": "Parentbased_TraceIdRatio",
            "OTEL_TRACES_SAMPLER_ARG": "",
            **ENDPOINT,
        },
    ],
)
def test_what_the_sdk_accepts_or_never_reads_is_no_mistake(environ: Mapping[str, str]) -> None:
    load(None, environ)


@pytest.mark.parametrize("lacks", ["opentelemetry", "opentelemetry.sdk"])
def test_without_the_extra_the_error_names_it(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, lacks)
    with pytest.raises(ConfigError, match=re.escape(extras.install("otel"))):
        load(None, ENDPOINT)
    load(None, {})
