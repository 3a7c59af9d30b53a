"""What each alert rule must notice, and what it must let pass: unit tests for `promtool test rules`.

Series are in promtool's notation (prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules): `0+6x60`
begins at 0 and grows by 6 each minute for an hour.
"""

from collections.abc import Mapping
from dataclasses import dataclass

HOUR = "x60"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One situation.

    Attributes:
        alert: the name of the rule.
        why: the situation, in a few words.
        series: by their selectors without `job` and `instance`: their values, one a minute.
        fires: the labels of the alert besides `job`; None: it must not fire.
        value: how `$value` is written in the summary.
        at: when the alert is asked for.
        before: when it must not fire yet; "": it may.
    """

    alert: str
    why: str
    series: Mapping[str, str]
    fires: Mapping[str, str] | None = None
    value: str = ""
    at: str = "30m"
    before: str = ""


ENTRY = {"provider": "main", "model": "m"}
HERE = {"instance": "one:8000"}
WORKER = {**HERE, "worker": "1"}


def _first_tokens(late: int, every: int) -> Mapping[str, str]:
    name, labels = "streamsvc_first_token_seconds", 'worker="1",provider="main",model="m"'
    return {
        f'{name}_bucket{{{labels},le="2.56"}}': f"0+{every - late}{HOUR}",
        f'{name}_bucket{{{labels},le="+Inf"}}': f"0+{every}{HOUR}",
        f"{name}_count{{{labels}}}": f"0+{every}{HOUR}",
    }


def _answers(**outcomes: int) -> Mapping[str, str]:
    labels = 'worker="1",provider="main",model="m"'
    return {
        f'streamsvc_generations_total{{{labels},outcome="{outcome}"}}': f"0+{count}{HOUR}"
        for outcome, count in outcomes.items()
    }


def _gaps(prefix: str, labels: str, bound: str) -> Mapping[str, str]:
    """Return gaps that are all in the bucket with this upper bound."""
    bounds = ("0.08", "0.16", "0.32", "0.64", "1.28", "+Inf")
    full = bounds.index(bound)
    return {
        f'{prefix}_bucket{{{labels},le="{it}"}}': f"0+{600 if at >= full else 0}{HOUR}"
        for at, it in enumerate(bounds)
    }


def _viewer_gaps(bound: str) -> Mapping[str, str]:
    return _gaps("streamsvc_viewer_gap_seconds", 'worker="1",dialect="native"', bound)


def _chunk_gaps(prefix: str, bound: str) -> Mapping[str, str]:
    labels = 'worker="1",provider="main",gen_ai_request_model="m"'
    return _gaps(f"gen_ai_client_{prefix}_time_per_output_chunk_seconds", labels, bound)


def _calls(**codes: int) -> Mapping[str, str]:
    labels = 'worker="1",provider="main",model="m"'
    return {
        f'streamsvc_calls_total{{{labels},code="{code}"}}': f"0+{count}{HOUR}"
        for code, count in codes.items()
    }


def _streams(**reasons: int) -> Mapping[str, str]:
    return {
        f'streamsvc_viewer_streams_total{{worker="{worker}",dialect="native",reason="{reason}"}}': f"0+{count}{HOUR}"
        for reason, count in reasons.items()
        for worker in (1, 2)
    }


def _resumes(**results: int) -> Mapping[str, str]:
    return {
        f'streamsvc_viewer_resumes_total{{worker="1",result="{result}"}}': f"0+{count}{HOUR}"
        for result, count in results.items()
    }


def _refusals(started: int, **codes: int) -> Mapping[str, str]:
    begun = {
        'streamsvc_generations_started_total{worker="1",provider="main"}': f"0+{started}{HOUR}"
    }
    return begun | {
        f'streamsvc_refusals_total{{worker="1",code="{code}"}}': f"0+{count}{HOUR}"
        for code, count in codes.items()
    }


def _wasted(reason: str, wasted: int, pieces: int) -> Mapping[str, str]:
    labels = 'worker="1",provider="main",model="m"'
    return {
        f'streamsvc_tokens_wasted_total{{{labels},reason="{reason}"}}': f"0+{wasted}x120",
        f"streamsvc_pieces_total{{{labels}}}": f"0+{pieces}x120",
    }


def _start_times(values: str) -> Mapping[str, str]:
    return {
        'process_start_time_seconds{worker="1"}': values,
        'streamsvc_worker_up{worker="1"}': "1x60",
    }


CASES: tuple[Case, ...] = (
    Case(
        alert="FirstTokenSlow",
        why="one first token in ten is late",
        series=_first_tokens(late=1, every=10),
        fires=ENTRY,
        value="10%",
        before="4m",
    ),
    Case(
        alert="FirstTokenSlow",
        why="one in a hundred is late",
        series=_first_tokens(late=1, every=100),
    ),
    Case(
        alert="FirstTokenSlow",
        why="all are late, but there is one a minute",
        series=_first_tokens(late=1, every=1),
    ),
    Case(
        alert="AnswersFailing",
        why="one answer in ten fails",
        series=_answers(completed=17, no_viewers=1, upstream_error=1, idle_timeout=1),
        fires={},
        value="10%",
    ),
    Case(
        alert="AnswersFailing",
        why="users stop half of the answers",
        series=_answers(completed=10, client_stop=5, no_viewers=5),
    ),
    Case(
        alert="InternalError",
        why="one answer ends because of a bug",
        series={
            'streamsvc_generations_total{worker="1",provider="main",model="m",outcome="internal_error"}': "0x20 1x40"
        },
        fires=HERE,
        before="15m",
    ),
    Case(
        alert="InternalError",
        why="answers end because of the upstream",
        series=_answers(internal_error=0, upstream_error=5),
    ),
    *(
        Case(
            alert="WordsHeldBack",
            why=f"viewers wait longer than the provider, with the names of {prefix}",
            series={**_viewer_gaps("1.28"), **_chunk_gaps(prefix, "0.16")},
            fires={},
            value="1.274s",
        )
        for prefix in ("operation", "inference")
    ),
    Case(
        alert="WordsHeldBack",
        why="the provider is as slow as the viewers see it",
        series={**_viewer_gaps("1.28"), **_chunk_gaps("operation", "1.28")},
    ),
    Case(
        alert="WordsHeldBack",
        why="gaps are longer than the provider's, but nobody sees it",
        series={**_viewer_gaps("0.16"), **_chunk_gaps("operation", "0.08")},
    ),
    Case(
        alert="ProviderFailing",
        why="one call in five fails",
        series=_calls(ok=8, provider_unavailable=1, provider_timeout=1),
        fires=ENTRY,
        value="20%",
        before="4m",
    ),
    Case(
        alert="ProviderFailing",
        why="requests are at fault, or users leave",
        series=_calls(ok=5, provider_refused=5, context_length_exceeded=2, cancelled=9),
    ),
    Case(
        alert="CircuitOpen",
        why="the circuits of two workers are open or probing",
        series={
            'streamsvc_circuit_state{worker="1",provider="main",state="closed"}': "1x5 0x50",
            'streamsvc_circuit_state{worker="2",provider="main",state="closed"}': "1x5 0x50",
            'streamsvc_circuit_state{worker="2",provider="main",state="probing"}': "0x5 1x50",
        },
        fires={"provider": "main"},
        value="2",
        before="7m",
    ),
    Case(
        alert="CircuitOpen",
        why="it was open for a minute",
        series={
            'streamsvc_circuit_state{worker="1",provider="main",state="closed"}': "1x27 0 0 1x30"
        },
    ),
    Case(
        alert="ViewersDropped",
        why="one stream in twenty is cut because its client does not read",
        series=_streams(finished=17, left=2, too_slow=1),
        fires={"dialect": "native", "reason": "too_slow"},
        value="5%",
    ),
    Case(
        alert="ViewersDropped",
        why="clients leave",
        series=_streams(finished=5, left=15, too_slow=0),
    ),
    Case(
        alert="ResumesLost",
        why="a quarter of the clients come back too late",
        series=_resumes(resumed=3, replayed=0, gone=1),
        fires={},
        value="25%",
    ),
    Case(
        alert="ResumesLost",
        why="nearly all clients get the rest",
        series=_resumes(resumed=30, complete=10, gone=1),
    ),
    Case(
        alert="ServiceDown",
        why="it is not reachable for some minutes",
        series={"up": "1x20 0x40"},
        fires=HERE,
        before="21m",
    ),
    Case(alert="ServiceDown", why="one scrape failed", series={"up": "1x28 0 1x30"}),
    Case(
        alert="WorkerSilent",
        why="a worker does not answer the others",
        series={'streamsvc_worker_up{worker="1"}': "1x20 0x40"},
        fires=WORKER,
        before="22m",
    ),
    Case(
        alert="WorkerSilent",
        why="a worker was replaced",
        series={'streamsvc_worker_up{worker="1"}': "1x28 0 1x30"},
    ),
    Case(
        alert="WorkersDying",
        why="one worker dies again and again",
        series=_start_times("100x10 200x5 300x5 400x40"),
        fires=WORKER,
        value="3",
        at="23m",
        before="20m",
    ),
    Case(
        alert="WorkersDying",
        why="a rolling restart",
        series=_start_times("100x20 200x40"),
    ),
    Case(
        alert="WorkersDying",
        why="another program with the label of a worker",
        series={'process_start_time_seconds{worker="1"}': "100x10 200x5 300x5 400x40"},
        at="23m",
    ),
    Case(
        alert="RefusingWork",
        why="a limit is reached",
        series=_refusals(90, overloaded=10),
        fires={**HERE, "code": "overloaded"},
        value="10%",
    ),
    Case(
        alert="RefusingWork",
        why="clients send nonsense",
        series=_refusals(90, invalid_field=50, rate_limited=50),
    ),
    Case(
        alert="RefusingClients",
        why="a key was changed",
        series=_refusals(50, unauthorized=50),
        fires={**HERE, "code": "unauthorized"},
        value="50%",
    ),
    Case(
        alert="RefusingClients",
        why="somebody tries keys now and then",
        series=_refusals(90, unauthorized=5),
    ),
    *(
        Case(
            alert="AlmostFull",
            why=f"nine tenths of {what}",
            series={
                f"{used}{{{labels}}}": "90x60",
                f"{limit}{{{labels}}}": "100x60",
                'streamsvc_worker_up{worker="1"}': "1x60",
            },
            fires={**WORKER, **more, "what": what},
            value="90%",
            before="4m",
        )
        for what, used, limit, labels, more in (
            *(
                (what, used, limit, 'worker="1"', {})
                for what, used, limit in (
                    ("generations", "streamsvc_generations_running", "streamsvc_generations_limit"),
                    ("viewers", "streamsvc_viewers", "streamsvc_viewers_limit"),
                    ("log bytes", "streamsvc_log_bytes", "streamsvc_log_limit_bytes"),
                    ("connections", "streamsvc_connections", "streamsvc_connections_limit"),
                    ("unread bytes", "streamsvc_unread_bytes", "streamsvc_unread_limit_bytes"),
                    ("descriptors", "process_open_fds", "process_max_fds"),
                )
            ),
            (
                "provider slots",
                "streamsvc_provider_slots_used",
                "streamsvc_provider_slots_limit",
                'worker="1",provider="main"',
                {"provider": "main"},
            ),
        )
    ),
    Case(
        alert="AlmostFull",
        why="half of them are in use, and another program is full",
        series={
            'streamsvc_viewers{worker="1"}': "50x60",
            'streamsvc_viewers_limit{worker="1"}': "100x60",
            "process_open_fds": "99x60",
            "process_max_fds": "100x60",
        },
    ),
    Case(
        alert="StoreDown",
        why="two workers have lost it",
        series={
            'streamsvc_store_up{worker="1"}': "1x20 0x40",
            'streamsvc_store_up{worker="2"}': "1x20 0x40",
        },
        fires=HERE,
        value="2",
        before="21m",
    ),
    Case(
        alert="StoreDown",
        why="it was away for a moment",
        series={'streamsvc_store_up{worker="1"}': "1x28 0 1x30"},
    ),
    Case(
        alert="StoreSlow",
        why="it takes a quarter of a second",
        series={'streamsvc_store_latency_seconds{worker="1"}': "0.25x60"},
        fires=HERE,
        value="250ms",
    ),
    Case(
        alert="StoreSlow",
        why="one check was slow",
        series={'streamsvc_store_latency_seconds{worker="1"}': "0.001x28 0.4 0.001x30"},
    ),
    Case(
        alert="TokensWasted",
        why="a third is generated after the last viewer has left",
        series=_wasted("unwatched", 100, 300),
        fires={**ENTRY, "reason": "unwatched"},
        value="33.33%",
        at="90m",
    ),
    Case(
        alert="TokensWasted",
        why="a few are generated again",
        series=_wasted("rescue", 10, 300),
        at="90m",
    ),
)
