"""The alert rules for Prometheus, written to `docs/operate/watch/alerts.yml` by `uv run just tables`.

`docs/operate/watch.md` has a section for each name, for the person on call. Every rule about shares also asks for a
minimum of traffic: one slow answer in a quiet night wakes nobody.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from streamsvc.errors import Overloaded, ProviderNotReady, RateLimited
from streamsvc.events import Outcome
from streamsvc.provider_errors import ProviderError
from streamsvc.telemetry import names
from support.error_classes import classes
from support.watching import rules
from support.watching.promql import SERVICE, increase, quantile, rate, series, upstream
from support.watching.rules import Alert

PAGE = Path(__file__).parents[3] / "docs" / "operate" / "watch" / "alerts.yml"

FIRST_TOKEN_SECONDS = 2.56
"""A first token is late after this; a bound of the histogram's buckets."""

FIRST_TOKEN_BUDGET = 0.05
"""The share of first tokens that may be late."""

ENTRY = ("job", "provider", "model")

OUTAGES = frozenset(it.code for it in classes(ProviderError) if it.is_outage)
"""The codes of failed calls for which the provider, its entry or the network is at fault, not the request."""

OVERLOADS = frozenset(
    {*(it.code for it in classes(Overloaded)), ProviderNotReady.code} - {RateLimited.code}
)
"""The codes of refusals for which the service is at fault."""

DISTRUST = frozenset({"unauthorized", "host_refused", "origin_refused"})
"""The codes of refusals that many clients get at once if a setting or a key is wrong."""

BAD_OUTCOMES = frozenset(Outcome) - {Outcome.COMPLETED, Outcome.CLIENT_STOP, Outcome.NO_VIEWERS}
"""The outcomes of answers that somebody wanted and did not get whole."""

DROPS = ("too_slow", "lost", "interrupted", "broken_off")
"""The ends of streams that neither the answer nor the client has chosen."""


def _share(part: str, whole: str, *, above: float) -> str:
    return f"{part}\n  / {whole}\n  > {above}"


def _first_token_slow() -> Alert:
    first = names.FIRST_TOKEN_SECONDS
    good = rate(series(first, "_bucket", le=str(FIRST_TOKEN_SECONDS)), "10m", ENTRY)
    every = series(first, "_count")
    return Alert(
        name="FirstTokenSlow",
        expr=(
            f"1 - {good}\n  / {rate(every, '10m', ENTRY)}\n  > {FIRST_TOKEN_BUDGET}\n"
            f"and {increase(every, '10m', ENTRY)} >= 20"
        ),
        lasts="5m",
        severity="page",
        summary=(
            "{{ $value | humanizePercentage }} of the first tokens of {{ $labels.provider }}"
            f" ({{{{ $labels.model }}}}) came after more than {FIRST_TOKEN_SECONDS} s."
        ),
    )


def _provider_failing() -> Alert:
    asked = series(names.CALLS, code="!cancelled")
    failed = rate(series(names.CALLS, code=OUTAGES), "5m", ENTRY)
    return Alert(
        name="ProviderFailing",
        expr=(
            f"{_share(failed, rate(asked, '5m', ENTRY), above=0.1)}\n"
            f"and {increase(asked, '5m', ENTRY)} >= 10"
        ),
        lasts="5m",
        severity="ticket",
        summary=(
            "{{ $value | humanizePercentage }} of the calls to {{ $labels.provider }}"
            " ({{ $labels.model }}) fail; retries and fallbacks may hide it from users."
        ),
    )


def _answers_failing() -> Alert:
    by = ("job",)
    every = series(names.GENERATIONS)
    failed = rate(series(names.GENERATIONS, outcome=BAD_OUTCOMES), "5m", by)
    return Alert(
        name="AnswersFailing",
        expr=(
            f"{_share(failed, rate(every, '5m', by), above=0.05)}\n"
            f"and {increase(every, '5m', by)} >= 20"
        ),
        lasts="5m",
        severity="page",
        summary="{{ $value | humanizePercentage }} of the answers fail, after all retries and fallbacks.",
    )


def _circuit_open() -> Alert:
    closed = series(names.CIRCUIT_STATE, state="closed")
    return Alert(
        name="CircuitOpen",
        expr=f"count by (job, provider) ({closed} == 0)",
        lasts="2m",
        severity="ticket",
        summary="Workers that do not ask {{ $labels.provider }}, because it kept failing: {{ $value }}.",
    )


def _viewers_dropped() -> Alert:
    by = ("job", "dialect", "reason")
    every = rate(series(names.VIEWER_STREAMS), "10m", ("job", "dialect"))
    dropped = series(names.VIEWER_STREAMS, reason=DROPS)
    return Alert(
        name="ViewersDropped",
        expr=(
            f"{rate(dropped, '10m', by)}\n  / on (job, dialect) group_left () {every}\n  > 0.02\n"
            f"and {increase(dropped, '10m', by)} >= 5"
        ),
        lasts="5m",
        severity="ticket",
        summary=(
            "{{ $value | humanizePercentage }} of the {{ $labels.dialect }} streams are cut:"
            " {{ $labels.reason }}."
        ),
    )


def _internal_error() -> Alert:
    bugs = series(names.GENERATIONS, outcome=Outcome.INTERNAL_ERROR)
    return Alert(
        name="InternalError",
        expr=f"{increase(bugs, '15m', SERVICE)} > 0",
        lasts="0m",
        severity="ticket",
        summary="Answers of {{ $labels.instance }} have ended because of a bug.",
    )


def _words_held_back() -> Alert:
    viewers = quantile(0.99, rate(series(names.VIEWER_GAP_SECONDS, "_bucket"), "5m", ("le", "job")))
    words = quantile(0.99, upstream("chunk_gap", "5m", ("job",)))
    return Alert(
        name="WordsHeldBack",
        expr=f"{viewers} > 0.3\nand {viewers}\n  > 3 * {words}",
        lasts="10m",
        severity="ticket",
        summary=(
            "Viewers wait up to {{ $value | humanizeDuration }} between two words,"
            " three times as long as the providers take."
        ),
    )


def _resumes_lost() -> Alert:
    gone = series(names.VIEWER_RESUMES, result="gone")
    every = rate(series(names.VIEWER_RESUMES), "15m", ("job",))
    return Alert(
        name="ResumesLost",
        expr=(
            f"{_share(rate(gone, '15m', ('job',)), every, above=0.1)}\n"
            f"and {increase(gone, '15m', ('job',))} >= 5"
        ),
        lasts="5m",
        severity="ticket",
        summary=(
            "{{ $value | humanizePercentage }} of the clients that come back"
            " find their answer gone."
        ),
    )


def _store_down() -> Alert:
    return Alert(
        name="StoreDown",
        expr=f"count by (job, instance) ({series(names.STORE_UP)} == 0)",
        lasts="1m",
        severity="page",
        summary="Workers of {{ $labels.instance }} that cannot use the shared Redis: {{ $value }}.",
    )


def _store_slow() -> Alert:
    return Alert(
        name="StoreSlow",
        expr=f"max by (job, instance) (avg_over_time({series(names.STORE_LATENCY_SECONDS)}[5m])) > 0.1",
        lasts="5m",
        severity="ticket",
        summary="The shared Redis takes {{ $value | humanizeDuration }} for {{ $labels.instance }}.",
    )


def _service_down() -> Alert:
    return Alert(
        name="ServiceDown",
        expr='up{job="streamsvc"} == 0',
        lasts="1m",
        severity="page",
        summary="{{ $labels.instance }} does not answer on /metrics.",
    )


def _worker_silent() -> Alert:
    return Alert(
        name="WorkerSilent",
        expr=f"{series(names.WORKER_UP)} == 0",
        lasts="2m",
        severity="page",
        summary="Worker {{ $labels.worker }} of {{ $labels.instance }} does not answer.",
    )


def _workers_dying() -> Alert:
    labels = (*SERVICE, "worker")
    return Alert(
        name="WorkersDying",
        expr=(
            f"changes(process_start_time_seconds[15m]) >= 3\n"
            f"and on ({', '.join(labels)}) {series(names.WORKER_UP)}"
        ),
        lasts="0m",
        severity="page",
        summary=(
            "Worker {{ $labels.worker }} of {{ $labels.instance }} was started"
            " {{ $value }} times in 15 minutes."
        ),
    )


def _refusing_work() -> Alert:
    return Alert(
        name="RefusingWork",
        expr=_refused(OVERLOADS, above=0.01),
        lasts="5m",
        severity="page",
        summary=(
            "{{ $labels.instance }} refuses {{ $value | humanizePercentage }} of the requests"
            " for answers: {{ $labels.code }}."
        ),
    )


def _refusing_clients() -> Alert:
    return Alert(
        name="RefusingClients",
        expr=_refused({*DISTRUST, RateLimited.code}, above=0.2),
        lasts="10m",
        severity="ticket",
        summary=(
            "{{ $labels.instance }} turns away {{ $value | humanizePercentage }} of the requests:"
            " {{ $labels.code }}."
        ),
    )


def _refused(codes: Collection[str], *, above: float) -> str:
    """Return the share of some refusals in all refusals and new answers, by code."""
    by = (*SERVICE, "code")
    refused = series(names.REFUSALS, code=codes)
    refusals = rate(series(names.REFUSALS), "5m", SERVICE)
    started = rate(series(names.GENERATIONS_STARTED), "5m", SERVICE)
    return (
        f"{rate(refused, '5m', by)}\n"
        f"  / on (job, instance) group_left () ({refusals} + {started})\n"
        f"  > {above}\n"
        f"and {increase(refused, '5m', by)} >= 5"
    )


FULL = (
    ("generations", names.GENERATIONS_RUNNING, names.GENERATIONS_LIMIT),
    ("viewers", names.VIEWERS, names.VIEWERS_LIMIT),
    ("log bytes", names.LOG_BYTES, names.LOG_LIMIT_BYTES),
    ("connections", names.CONNECTIONS, names.CONNECTIONS_LIMIT),
    ("unread bytes", names.UNREAD_BYTES, names.UNREAD_LIMIT_BYTES),
    ("provider slots", names.PROVIDER_SLOTS_USED, names.PROVIDER_SLOTS_LIMIT),
)
"""What has a limit: its name, how much is used, and the limit."""


def _almost_full() -> Iterator[Alert]:
    for what, used, limit in FULL:
        entry = " of {{ $labels.provider }}" if used.labels else ""
        yield _full(what, series(used), series(limit), entry)
    up = f"and on (job, instance, worker) {series(names.WORKER_UP)}"
    yield _full("descriptors", "process_open_fds", "process_max_fds", also=up)


def _full(what: str, used: str, limit: str, entry: str = "", also: str = "") -> Alert:
    return Alert(
        name="AlmostFull",
        expr=f"{used} / ({limit} > 0) > 0.8\n{also}".rstrip(),
        lasts="5m",
        severity="ticket",
        summary=(
            f"Worker {{{{ $labels.worker }}}} of {{{{ $labels.instance }}}} uses"
            f" {{{{ $value | humanizePercentage }}}} of its {what}{entry}."
        ),
        what=what,
    )


def _tokens_wasted() -> Alert:
    by = ("job", "provider", "model", "reason")
    wasted = series(names.TOKENS_WASTED)
    pieces = rate(series(names.PIECES), "1h", ENTRY)
    return Alert(
        name="TokensWasted",
        expr=(
            f"{rate(wasted, '1h', by)}\n"
            f"  / on (job, provider, model) group_left () {pieces}\n"
            f"  > 0.1\n"
            f"and {increase(wasted, '1h', by)} >= 1000"
        ),
        lasts="15m",
        severity="ticket",
        summary=(
            "{{ $value | humanizePercentage }} of the tokens of {{ $labels.provider }}"
            " ({{ $labels.model }}) were generated for nobody: {{ $labels.reason }}."
        ),
    )


ALERTS: Mapping[str, Sequence[Alert]] = {
    "answers": (*(_first_token_slow(), _answers_failing(), _internal_error(), _words_held_back()),),
    "providers": (_provider_failing(), _circuit_open()),
    "viewers": (_viewers_dropped(), _resumes_lost()),
    "service": (
        *(_service_down(), _worker_silent(), _workers_dying()),
        *(_refusing_work(), _refusing_clients(), *_almost_full()),
    ),
    "store": (_store_down(), _store_slow()),
    "money": (_tokens_wasted(),),
}
"""All rules, by group."""


def written() -> str:
    """Return the file of rules."""
    return rules.written(ALERTS)
