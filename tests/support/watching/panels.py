"""What the dashboard shows: its panels, each with its queries. `dashboard` makes them Grafana's.

Everything about models is split by provider and model: a sum hides the one that fails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from streamsvc.telemetry import names
from streamsvc.telemetry.names import Metric
from support.watching.alerts import FIRST_TOKEN_BUDGET, FIRST_TOKEN_SECONDS, FULL
from support.watching.promql import SERVICE, increase, quantile, rate, series, upstream

WINDOW = "$__rate_interval"
"""The window of a rate, as Grafana computes it from the scrape interval and the width of the panel."""

ENTRY = ("provider", "model")
ENTRY_LEGEND = "{{provider}} {{model}}"

Unit = Literal["short", "s", "percentunit", "ops", "Bps", "bytes"]


@dataclass(frozen=True, kw_only=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: of Prometheus.
        legend: the name of each series, with its labels in braces.
    """

    expr: str
    legend: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        title: what it shows.
        about: a sentence that explains it.
        queries: its queries.
        unit: of its values, as Grafana names it.
        red: a line, and red above it; None: there is none.
        most: the end of the axis; None: the highest value.
        is_number: whether it is one number instead of lines in time.
        width: in 24ths of the dashboard.
    """

    title: str
    about: str
    queries: Sequence[Query]
    unit: Unit = "short"
    red: float | None = None
    most: float | None = None
    is_number: bool = False
    width: int = 8


def _one(expr: str, legend: str) -> Sequence[Query]:
    return (Query(expr=expr, legend=legend),)


def _of_entry(metric: Metric, part: Literal["", "_bucket", "_count"] = "", **labels: str) -> str:
    """Return the series of the chosen entries and models."""
    model = {"model": "$model"} if "model" in metric.labels else {}
    return series(metric, part, provider="$provider", **model, **labels)


def _quantiles(buckets: str, legend: str, *ranks: float) -> Sequence[Query]:
    return tuple(
        Query(expr=quantile(rank, buckets), legend=f"p{rank * 100:g} {legend}") for rank in ranks
    )


def _number(
    title: str, about: str, expr: str, unit: Unit = "short", red: float | None = None
) -> Panel:
    return Panel(
        title=title,
        about=about,
        queries=_one(expr, title),
        unit=unit,
        red=red,
        is_number=True,
        width=3,
    )


def _upstream(field: Literal["first_chunk", "chunk_gap"]) -> str:
    return upstream(field, WINDOW, ("provider", "gen_ai_request_model"), provider="$provider")


def _failed_share(by: Sequence[str]) -> str:
    failed = rate(series(names.GENERATIONS, outcome="!completed"), WINDOW, by)
    return f"{failed} / {rate(series(names.GENERATIONS), WINDOW, by)}"


NOW = (
    _number(
        "answers running",
        "Answers that are running now.",
        f"sum({names.GENERATIONS_RUNNING.series})",
    ),
    _number("viewers", "Viewers that are connected now.", f"sum({names.VIEWERS.series})"),
    _number(
        "new answers",
        "New answers in a second.",
        f"sum({rate(series(names.GENERATIONS_STARTED), WINDOW, ('job',))})",
        "ops",
    ),
    _number(
        "circuits open",
        "Entries that a worker skips, because they kept failing.",
        f"count({series(names.CIRCUIT_STATE, state='closed')} == 0) or vector(0)",
        red=1,
    ),
    _number("workers", "Workers that give their figures.", f"sum({names.WORKER_UP.series})"),
    _number(
        "workers without Redis",
        "Workers that cannot use the shared Redis; 0 without one, too.",
        f"count({names.STORE_UP.series} == 0) or vector(0)",
        red=1,
    ),
    _number(
        "refused",
        "Refused requests in a second.",
        f"sum(rate({names.REFUSALS.series}[{WINDOW}])) or vector(0)",
        "ops",
    ),
    _number(
        "tokens saved in a day",
        "Output tokens that were not generated, because answers were stopped.",
        f"sum(increase({names.TOKENS_SAVED.series}[1d]))",
    ),
)

_FIRST = names.FIRST_TOKEN_SECONDS
_LATE = (
    f"1 - {rate(_of_entry(_FIRST, '_bucket', le=str(FIRST_TOKEN_SECONDS)), WINDOW, ENTRY)}"
    f" / {rate(_of_entry(_FIRST, '_count'), WINDOW, ENTRY)}"
)

FIRST_TOKEN = (
    Panel(
        title="First token of an answer",
        about="With retries and fallbacks. The red line is where a first token counts as late.",
        queries=_quantiles(
            rate(_of_entry(_FIRST, "_bucket"), WINDOW, ("le", *ENTRY)), ENTRY_LEGEND, 0.5, 0.95
        ),
        unit="s",
        red=FIRST_TOKEN_SECONDS,
    ),
    Panel(
        title="Late first tokens",
        about=(
            f"The share of first tokens after more than {FIRST_TOKEN_SECONDS} s."
            " Above the red line, the error budget is being overspent."
        ),
        queries=_one(_LATE, ENTRY_LEGEND),
        unit="percentunit",
        red=FIRST_TOKEN_BUDGET,
        most=1,
    ),
    Panel(
        title="First piece of a call",
        about="The provider alone, without retries and fallbacks.",
        queries=_quantiles(_upstream("first_chunk"), "{{provider}} {{gen_ai_request_model}}", 0.95),
        unit="s",
    ),
    Panel(
        title="First words at the viewer",
        about="From the request to the first words that were written to its connection.",
        queries=_quantiles(
            rate(series(names.VIEWER_FIRST_FRAME_SECONDS, "_bucket"), WINDOW, ("le", "dialect")),
            "{{dialect}}",
            0.5,
            0.95,
        ),
        unit="s",
    ),
    Panel(
        title="Gaps as the provider sends",
        about="Between two pieces of a call. Compare with the panel on the right.",
        queries=_quantiles(
            _upstream("chunk_gap"), "{{provider}} {{gen_ai_request_model}}", 0.5, 0.99
        ),
        unit="s",
    ),
    Panel(
        title="Gaps as viewers see",
        about="Between two writes of words to a connection. Longer ones than the provider's wait in this service.",
        queries=_quantiles(
            rate(series(names.VIEWER_GAP_SECONDS, "_bucket"), WINDOW, ("le", "dialect")),
            "{{dialect}}",
            0.5,
            0.99,
        ),
        unit="s",
    ),
)

ANSWERS = (
    Panel(
        title="Answers by outcome",
        about="Answers that ended, in a second.",
        queries=_one(
            rate(_of_entry(names.GENERATIONS), WINDOW, (*ENTRY, "outcome")) + " > 0",
            ENTRY_LEGEND + " {{outcome}}",
        ),
        unit="ops",
    ),
    Panel(
        title="Time of answers",
        about="With retries and fallbacks.",
        queries=_quantiles(
            rate(_of_entry(names.GENERATION_SECONDS, "_bucket"), WINDOW, ("le", "provider")),
            "{{provider}}",
            0.5,
            0.95,
        ),
        unit="s",
    ),
    Panel(
        title="Tokens",
        about="Tokens of answers that ended, in a second.",
        queries=_one(
            rate(_of_entry(names.TOKENS_USED), WINDOW, (*ENTRY, "type")) + " > 0",
            ENTRY_LEGEND + " {{type}}",
        ),
        unit="ops",
    ),
)

PROVIDERS = (
    Panel(
        title="Failed calls",
        about="Calls in a second, by the code of their failure; retries and fallbacks may save the answers.",
        queries=_one(
            rate(_of_entry(names.CALLS, code="!ok|cancelled"), WINDOW, (*ENTRY, "code")) + " > 0",
            ENTRY_LEGEND + " {{code}}",
        ),
        unit="ops",
    ),
    Panel(
        title="Circuits that are not closed",
        about="Workers that skip an entry, because it kept failing.",
        queries=_one(
            f"sum by (provider) (1 - {_of_entry(names.CIRCUIT_STATE, state='closed')})",
            "{{provider}}",
        ),
        red=1,
    ),
    Panel(
        title="Slots",
        about="Answers on an entry, of the maximum of its workers.",
        queries=_one(
            f"sum by (provider) ({_of_entry(names.PROVIDER_SLOTS_USED)})"
            f" / sum by (provider) ({_of_entry(names.PROVIDER_SLOTS_LIMIT)} > 0)",
            "{{provider}}",
        ),
        unit="percentunit",
        red=0.8,
    ),
)

VIEWERS = (
    Panel(
        title="Streams by their end",
        about="In a second. left: the client closed; too_slow: it did not read.",
        queries=_one(
            rate(series(names.VIEWER_STREAMS), WINDOW, ("dialect", "reason")) + " > 0",
            "{{dialect}} {{reason}}",
        ),
        unit="ops",
    ),
    Panel(
        title="Clients that came back",
        about="In a second, by what they got; gone: the answer was no longer kept.",
        queries=_one(rate(series(names.VIEWER_RESUMES), WINDOW, ("result",)), "{{result}}"),
        unit="ops",
    ),
    Panel(
        title="Bytes and keepalives",
        about="What was written to viewers, in a second.",
        queries=(
            Query(
                expr=rate(series(names.VIEWER_SENT_BYTES), WINDOW, ("dialect",)),
                legend="{{dialect}} bytes",
            ),
            Query(
                expr=rate(series(names.VIEWER_KEEPALIVES), WINDOW, ("dialect",)),
                legend="{{dialect}} keepalives",
            ),
        ),
        unit="Bps",
    ),
)

MONEY = (
    Panel(
        title="Tokens saved in an hour",
        about="Output tokens that were not generated: client_stop is the stop button, no_viewers everybody else who left.",
        queries=_one(
            increase(_of_entry(names.TOKENS_SAVED), "1h", (*ENTRY, "reason")) + " > 0",
            ENTRY_LEGEND + " {{reason}}",
        ),
        width=12,
    ),
    Panel(
        title="Tokens wasted in an hour",
        about="Output tokens that were generated for nobody.",
        queries=_one(
            increase(_of_entry(names.TOKENS_WASTED), "1h", (*ENTRY, "reason")) + " > 0",
            ENTRY_LEGEND + " {{reason}}",
        ),
        width=12,
    ),
)


def _filled() -> Sequence[Query]:
    return tuple(
        Query(
            expr=f"max by ({', '.join((*SERVICE, *used.labels))}) ({used.series} / ({limit.series} > 0))",
            legend=f"{what} {{{{instance}}}}" + (" {{provider}}" if used.labels else ""),
        )
        for what, used, limit in FULL
    )


_OURS = f"and on (job, instance, worker) {names.WORKER_UP.series}"
_WORKER_LEGEND = "{{instance}} worker {{worker}}"

SERVICE_PANELS = (
    Panel(
        title="Limits",
        about="How much of each limit is used, by the fullest worker.",
        queries=_filled(),
        unit="percentunit",
        red=0.8,
        most=1,
    ),
    Panel(
        title="Refusals",
        about="Refused requests in a second, by the code of the error.",
        queries=_one(rate(series(names.REFUSALS), WINDOW, ("code",)), "{{code}}"),
        unit="ops",
    ),
    Panel(
        title="Requests",
        about="Requests in a second that ended.",
        queries=_one(
            rate(series(names.REQUESTS), WINDOW, ("route", "status")), "{{route}} {{status}}"
        ),
        unit="ops",
    ),
    Panel(
        title="CPU of workers",
        about="The share of a core; near 1, words wait.",
        queries=_one(f"rate(process_cpu_seconds_total[{WINDOW}]) {_OURS}", _WORKER_LEGEND),
        unit="percentunit",
        red=0.9,
    ),
    Panel(
        title="Memory of workers",
        about="Resident memory.",
        queries=_one(f"process_resident_memory_bytes {_OURS}", _WORKER_LEGEND),
        unit="bytes",
    ),
    Panel(
        title="Starts of workers",
        about="In the last hour; each worker starts once in a rolling restart.",
        queries=(
            Query(expr=f"changes(process_start_time_seconds[1h]) {_OURS}", legend=_WORKER_LEGEND),
            Query(
                expr=f"sum by (instance) (1 - {names.WORKER_UP.series})",
                legend="{{instance}} silent workers",
            ),
        ),
        red=3,
    ),
    Panel(
        title="Redis: time of a command",
        about="The latest check of each machine's slowest worker; only with log.kind = redis.",
        queries=_one(f"max by (instance) ({names.STORE_LATENCY_SECONDS.series})", "{{instance}}"),
        unit="s",
        red=0.1,
        width=12,
    ),
    Panel(
        title="Redis: outages",
        about="In the last hour, by reason, as each worker saw them.",
        queries=_one(
            increase(series(names.STORE_OUTAGES), "1h", ("instance", "reason")),
            "{{instance}} {{reason}}",
        ),
        width=12,
    ),
)

ROWS: Mapping[str, Sequence[Panel]] = {
    "Now": NOW,
    "First token and words": FIRST_TOKEN,
    "Answers": ANSWERS,
    "Providers": PROVIDERS,
    "Viewers": VIEWERS,
    "Money": MONEY,
    "Service": SERVICE_PANELS,
}
"""All panels, by row."""

MAY_BE_EMPTY = frozenset({"Redis: outages", "Refusals"})
"""The panels without data until something is wrong."""
