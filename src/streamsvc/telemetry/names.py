"""The one table of metrics: every name, label, unit and bucket, and what each figure means.

`metrics` fills them, and `docs/reference/metrics.md`, the dashboard and the alert rules are generated from them, so none can
drift. The figures that follow OpenTelemetry's conventions are in `conventions`; all others begin with `streamsvc_`.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from streamsvc.hooks import GAP_BOUNDS

Kind = Literal["counter", "gauge", "histogram", "info"]
"""The type of a metric (OpenMetrics 1.0, section 5)."""

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""The buckets of durations in the GenAI conventions, in seconds."""

LONG_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0)
"""The buckets of whole answers, in seconds."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric.

    Attributes:
        name: in Prometheus, without the suffixes `_total`, `_info` and `_bucket`.
        kind: its type.
        help: what it means, in a sentence.
        labels: the names of its labels, in order; `worker` is added to all metrics.
        unit: `seconds` or `bytes`, which is also the end of the name; "" for a plain number.
        buckets: the upper bounds of a histogram's buckets.
        otel: its name in OpenTelemetry, if it is one of the conventions'.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()
    otel: str = ""

    @property
    def series(self) -> str:
        """The name of the samples to query: with `_total` for a counter, and `_bucket` for a histogram."""
        suffix = {"counter": "_total", "histogram": "_bucket", "info": "_info", "gauge": ""}
        return self.name + suffix[self.kind]


# ---- Answers

GENERATIONS_STARTED = Metric(
    name="streamsvc_generations_started",
    kind="counter",
    help="New answers that were started, by the entry that was asked first.",
    labels=("provider",),
)
GENERATIONS = Metric(
    name="streamsvc_generations",
    kind="counter",
    help="Answers that ended, by the entry and the model that were asked last, and by outcome.",
    labels=("provider", "model", "outcome"),
)
GENERATIONS_MOVED = Metric(
    name="streamsvc_generations_moved",
    kind="counter",
    help="Answers that left this worker (handed_over, taken_over) or came to it (received) before they ended.",
    labels=("direction",),
)
GENERATION_SECONDS = Metric(
    name="streamsvc_generation_seconds",
    kind="histogram",
    unit="seconds",
    help="How long answers ran, retries and fallbacks included.",
    labels=("provider",),
    buckets=LONG_SECONDS,
)
FIRST_TOKEN_SECONDS = Metric(
    name="streamsvc_first_token_seconds",
    kind="histogram",
    unit="seconds",
    help="From the start of an answer to its first token, retries and fallbacks included.",
    labels=("provider", "model"),
    buckets=SECONDS,
)
PIECES = Metric(
    name="streamsvc_pieces",
    kind="counter",
    help="Pieces of answers that providers sent; nearly always, one piece is one token.",
    labels=("provider", "model"),
)
TOKENS_USED = Metric(
    name="streamsvc_tokens",
    kind="counter",
    help=(
        "Tokens of answers that ended, as the provider counted them or (estimated) as they were estimated."
        " reasoning is a part of output; cache_read and cache_write are parts of input."
    ),
    labels=("provider", "model", "type", "source"),
)
GENERATIONS_RUNNING = Metric(
    name="streamsvc_generations_running", kind="gauge", help="Answers that are running now."
)
GENERATIONS_LIMIT = Metric(
    name="streamsvc_generations_limit",
    kind="gauge",
    help="The maximum number of running answers: limits.max_generations.",
)

# ---- Providers

CALLS = Metric(
    name="streamsvc_calls",
    kind="counter",
    help=(
        "Calls to providers that ended, by the code of their failure; ok: they succeeded;"
        " cancelled: closed because the answer was not wanted."
    ),
    labels=("provider", "model", "code"),
)
PROVIDER_SLOTS_USED = Metric(
    name="streamsvc_provider_slots_used",
    kind="gauge",
    help="Answers that are running on an entry.",
    labels=("provider",),
)
PROVIDER_SLOTS_LIMIT = Metric(
    name="streamsvc_provider_slots_limit",
    kind="gauge",
    help="The maximum number of answers on an entry: providers.….max_generations.",
    labels=("provider",),
)
PROVIDER_READY = Metric(
    name="streamsvc_provider_ready",
    kind="gauge",
    help="1 if the API key of an entry is set, or not needed.",
    labels=("provider",),
)
CIRCUIT_STATE = Metric(
    name="streamsvc_circuit_state",
    kind="gauge",
    help="1 for the state that the circuit of an entry is in: closed, open or probing; 0 for the others.",
    labels=("provider", "state"),
)
CIRCUIT_OPENINGS = Metric(
    name="streamsvc_circuit_openings",
    kind="counter",
    help="How often the circuit of an entry has opened.",
    labels=("provider",),
)

# ---- Viewers

VIEWERS = Metric(name="streamsvc_viewers", kind="gauge", help="Viewers that are connected now.")
VIEWERS_LIMIT = Metric(
    name="streamsvc_viewers_limit",
    kind="gauge",
    help="The maximum number of connected viewers: limits.max_viewers.",
)
VIEWER_STREAMS_STARTED = Metric(
    name="streamsvc_viewer_streams_started",
    kind="counter",
    help="Streams that were started for viewers, by dialect.",
    labels=("dialect",),
)
VIEWER_STREAMS = Metric(
    name="streamsvc_viewer_streams",
    kind="counter",
    help=(
        "Streams that ended, by dialect and reason. finished: all was sent; left: the client closed the connection;"
        " too_slow: it did not read; lost: the answer was no longer kept; interrupted: another worker has the rest;"
        " broken_off: the stream could not end properly."
    ),
    labels=("dialect", "reason"),
)
VIEWER_FIRST_FRAME_SECONDS = Metric(
    name="streamsvc_viewer_first_frame_seconds",
    kind="histogram",
    unit="seconds",
    help="From the request of a viewer to the first words that were written to its connection.",
    labels=("dialect",),
    buckets=SECONDS,
)
VIEWER_GAP_SECONDS = Metric(
    name="streamsvc_viewer_gap_seconds",
    kind="histogram",
    unit="seconds",
    help="Between two writes to a viewer's connection, from the first words on; keepalives do not count.",
    labels=("dialect",),
    buckets=GAP_BOUNDS,
)
VIEWER_SENT_BYTES = Metric(
    name="streamsvc_viewer_sent_bytes",
    kind="counter",
    unit="bytes",
    help="Bytes of frames that were written to viewers whose streams ended, by dialect.",
    labels=("dialect",),
)
VIEWER_KEEPALIVES = Metric(
    name="streamsvc_viewer_keepalives",
    kind="counter",
    help="Keepalives that were written because a stream was silent for stream.ping_seconds, by dialect.",
    labels=("dialect",),
)
VIEWER_RESUMES = Metric(
    name="streamsvc_viewer_resumes",
    kind="counter",
    help=(
        "Clients that came back, by what they got. resumed: the rest; replayed: the answer from its start;"
        " complete: nothing, they had all; gone: the answer was no longer kept."
    ),
    labels=("result",),
)
VIEWER_REPLAYED_RECORDS = Metric(
    name="streamsvc_viewer_replayed_records",
    kind="counter",
    help="Stored records that clients who came back got at once.",
)

# ---- Money

TOKENS_SAVED = Metric(
    name="streamsvc_tokens_saved",
    kind="counter",
    help=(
        "Output tokens that were not generated because an answer was stopped, by outcome. An estimate: the mean of the"
        " complete answers of the same entry and model so far, at most the request's max_tokens, minus the pieces that"
        " had come; 0 until one answer is complete."
    ),
    labels=("provider", "model", "reason"),
)
TOKENS_WASTED = Metric(
    name="streamsvc_tokens_wasted",
    kind="counter",
    help=(
        "Output tokens that were generated without need, counted as pieces. rescue: of a call that broke off and was"
        " replaced by another; unwatched: after the last viewer had left (one who came back may have read them);"
        " double_spend: of an answer that another worker generates again."
    ),
    labels=("provider", "model", "reason"),
)

# ---- Requests and connections

REQUESTS = Metric(
    name="streamsvc_requests",
    kind="counter",
    help="Requests that ended, by method, route and status; 0: the client left before the response began.",
    labels=("method", "route", "status"),
)
FIRST_BYTE_SECONDS = Metric(
    name="streamsvc_first_byte_seconds",
    kind="histogram",
    unit="seconds",
    help="From a request to the head of its response, by route.",
    labels=("route",),
    buckets=SECONDS,
)
REFUSALS = Metric(
    name="streamsvc_refusals",
    kind="counter",
    help="Requests that were refused, by the code of the error.",
    labels=("code",),
)
CONNECTIONS = Metric(
    name="streamsvc_connections", kind="gauge", help="Connections that are open now."
)
CONNECTIONS_LIMIT = Metric(
    name="streamsvc_connections_limit",
    kind="gauge",
    help="The maximum number of connections: limits.max_connections, or what the limit of descriptors leaves.",
)
UNREAD_BYTES = Metric(
    name="streamsvc_unread_bytes",
    kind="gauge",
    unit="bytes",
    help="Bytes that wait because clients do not read them.",
)
UNREAD_LIMIT_BYTES = Metric(
    name="streamsvc_unread_limit_bytes",
    kind="gauge",
    unit="bytes",
    help="The maximum number of unread bytes: limits.max_total_unread_bytes.",
)

# ---- Stored answers

LOG_BYTES = Metric(
    name="streamsvc_log_bytes",
    kind="gauge",
    unit="bytes",
    help="Memory that the logs of answers use in this worker.",
)
LOG_LIMIT_BYTES = Metric(
    name="streamsvc_log_limit_bytes",
    kind="gauge",
    unit="bytes",
    help="The maximum of that memory: generations.max_total_log_bytes.",
)
STORE_UP = Metric(
    name="streamsvc_store_up",
    kind="gauge",
    help="1 if the shared Redis can be used; only with log.kind = redis.",
)
STORE_LATENCY_SECONDS = Metric(
    name="streamsvc_store_latency_seconds",
    kind="gauge",
    unit="seconds",
    help="How long the latest check of the shared Redis took; only with log.kind = redis.",
)
STORE_OUTAGES = Metric(
    name="streamsvc_store_outages",
    kind="counter",
    help="How often the shared Redis could not be used, by reason.",
    labels=("reason",),
)

# ---- The process

BUILD = Metric(
    name="streamsvc_build",
    kind="info",
    help="The versions of streamsvc and Python.",
    labels=("version", "python"),
)
WORKER_UP = Metric(
    name="streamsvc_worker_up",
    kind="gauge",
    help="1 if a worker has given its figures; 0 if it did not answer in time, or is being started.",
)
DRAINING = Metric(
    name="streamsvc_draining",
    kind="gauge",
    help="1 if a worker accepts no new answers because it shuts down.",
)

GROUPS: Mapping[str, Sequence[Metric]] = {
    "Answers": (
        *(GENERATIONS_STARTED, GENERATIONS, GENERATIONS_MOVED, GENERATION_SECONDS),
        *(FIRST_TOKEN_SECONDS, PIECES, TOKENS_USED, GENERATIONS_RUNNING, GENERATIONS_LIMIT),
    ),
    "Viewers": (
        *(VIEWER_FIRST_FRAME_SECONDS, VIEWER_GAP_SECONDS, VIEWER_STREAMS_STARTED, VIEWER_STREAMS),
        *(VIEWER_RESUMES, VIEWER_REPLAYED_RECORDS, VIEWER_KEEPALIVES, VIEWER_SENT_BYTES),
        *(VIEWERS, VIEWERS_LIMIT),
    ),
    "Money": (TOKENS_SAVED, TOKENS_WASTED),
    "Providers": (
        *(CALLS, PROVIDER_SLOTS_USED, PROVIDER_SLOTS_LIMIT, PROVIDER_READY),
        *(CIRCUIT_STATE, CIRCUIT_OPENINGS),
    ),
    "Requests and connections": (
        *(REQUESTS, FIRST_BYTE_SECONDS, REFUSALS, CONNECTIONS, CONNECTIONS_LIMIT),
        *(UNREAD_BYTES, UNREAD_LIMIT_BYTES),
    ),
    "Stored answers": (
        *(LOG_BYTES, LOG_LIMIT_BYTES, STORE_UP, STORE_LATENCY_SECONDS, STORE_OUTAGES),
    ),
    "Process": (BUILD, WORKER_UP, DRAINING),
}
"""All metrics that do not depend on the conventions, by what they are about."""
