"""The metrics of calls to providers, by the GenAI conventions of OpenTelemetry; a part of the table in `names`.

The conventions have two generations: v1.41 of the semantic conventions (the default), and the repository
`open-telemetry/semantic-conventions-genai`. The standard variable `OTEL_SEMCONV_STABILITY_OPT_IN` chooses one.

In Prometheus, a dot of an OpenTelemetry name is an underscore, and the unit is a suffix
(opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics).
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from streamsvc.hooks import GAP_BOUNDS
from streamsvc.telemetry.names import SECONDS, Metric

OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"
"""The variable that chooses the generation of the GenAI conventions: a list of words, separated by commas."""

_LATEST = "gen_ai_latest_experimental"

TOKENS = tuple(float(4**power) for power in range(14))
"""The buckets of `gen_ai.client.token.usage`."""


class Convention(StrEnum):
    """A generation of the GenAI conventions."""

    V1_41 = "v1.41"
    LATEST = "gen_ai_latest_experimental"

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Convention":
        """Return the generation that the environment chooses."""
        words = (word.strip() for word in environ.get(OPT_IN, "").split(","))
        return cls.LATEST if _LATEST in words else cls.V1_41


CALL_LABELS = ("provider", "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
"""The labels of all figures of the conventions; `provider` is the name of the entry."""


class GenAI(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics of one generation of the conventions.

    Attributes:
        duration: of calls.
        first_chunk: from a call to its first piece.
        chunk_gap: between two pieces of a call.
        usage: tokens of calls, by the type that `Usage` knows: one metric with a label, or one for each.
    """

    duration: Metric
    first_chunk: Metric
    chunk_gap: Metric
    usage: Mapping[str, Metric]

    @property
    def tokens(self) -> Sequence[Metric]:
        """The metrics of `usage`, each once."""
        return tuple({it.name: it for it in self.usage.values()}.values())

    @property
    def all(self) -> Sequence[Metric]:
        """All of them, each once."""
        return (self.duration, self.first_chunk, self.chunk_gap, *self.tokens)


def _seconds(otel: str, text: str, *more: str, buckets: tuple[float, ...] = SECONDS) -> Metric:
    return Metric(
        name=f"{otel.replace('.', '_')}_seconds",
        kind="histogram",
        unit="seconds",
        help=text,
        labels=(*CALL_LABELS, *more),
        buckets=buckets,
        otel=otel,
    )


def _timings(prefix: str) -> dict[str, Metric]:
    return {
        "duration": _seconds(
            f"{prefix}.duration",
            "How long calls to providers took; error_type is the code of a failure, cancelled, or empty.",
            "error_type",
        ),
        "first_chunk": _seconds(
            f"{prefix}.time_to_first_chunk", "From a call to a provider to its first piece."
        ),
        "chunk_gap": _seconds(
            f"{prefix}.time_per_output_chunk",
            "Between two pieces of a call to a provider.",
            buckets=GAP_BOUNDS,
        ),
    }


def _usage(otel: str, tokens: str) -> Metric:
    return Metric(
        name=otel.replace(".", "_"),
        kind="counter",
        help=f"{tokens} of calls to providers, as the providers counted them.",
        labels=CALL_LABELS,
        otel=otel,
    )


_TOKEN_USAGE = Metric(
    name="gen_ai_client_token_usage",
    kind="histogram",
    help="Tokens of calls to providers, as the providers counted them, by type: input or output.",
    labels=(*CALL_LABELS, "gen_ai_token_type"),
    buckets=TOKENS,
    otel="gen_ai.client.token.usage",
)

GEN_AI: Mapping[Convention, GenAI] = {
    Convention.V1_41: GenAI(
        **_timings("gen_ai.client.operation"),
        usage={"input": _TOKEN_USAGE, "output": _TOKEN_USAGE},
    ),
    Convention.LATEST: GenAI(
        **_timings("gen_ai.client.inference"),
        usage={
            kind: _usage(f"gen_ai.client.inference.usage.{name}", tokens)
            for kind, name, tokens in (
                ("input", "input_tokens", "Input tokens"),
                ("output", "output_tokens", "Output tokens, reasoning included,"),
                ("cache_read", "cache_read.input_tokens", "Input tokens from a provider's cache"),
                ("cache_write", "cache_write.input_tokens", "Input tokens written to its cache"),
                ("reasoning", "reasoning.output_tokens", "Output tokens of reasoning"),
            )
        },
    ),
}
"""The metrics of the conventions, by generation."""

_OPERATIONS: Mapping[str, tuple[str, str]] = {
    "openai": ("chat", "openai"),
    "gemini": ("generate_content", "gcp.gemini"),
}


def operation_of(kind: str) -> tuple[str, str]:
    """Return `gen_ai.operation.name` and `gen_ai.provider.name` of calls to a kind of provider."""
    return _OPERATIONS.get(kind, ("chat", kind))
