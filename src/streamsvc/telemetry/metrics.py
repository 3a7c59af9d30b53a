"""Counts what happens, for `/metrics`: a listener of the hooks, and the figures that are read when somebody asks.

No label comes from what a client chooses freely: models that are not in the settings are `other`.
Nothing is counted per token; calls and streams bring their own small histograms (`hooks.Gaps`).
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from typing import get_args

from streamsvc import __version__
from streamsvc.config.provider_settings import ProviderSettings
from streamsvc.errors import StreamsvcError
from streamsvc.events import Outcome, Usage
from streamsvc.hooks import (
    CallEnded,
    CircuitChanged,
    DropReason,
    FirstToken,
    GenerationEnded,
    GenerationStarted,
    Hooks,
    Refused,
    RequestEnded,
    Resumed,
    ResumeResult,
    StoreChanged,
    ViewerJoined,
    ViewerLeft,
)
from streamsvc.provider_errors import ProviderError
from streamsvc.telemetry import names
from streamsvc.telemetry.conventions import GEN_AI, Convention, operation_of
from streamsvc.telemetry.money import SAVING, WASTES, Money
from streamsvc.telemetry.names import Metric
from streamsvc.telemetry.series import Counter, Gauge, Histogram, Labels, Series

OTHER = "other"
"""The label of what a client may name freely."""


def _codes(kind: type[ProviderError]) -> Iterator[str]:
    yield kind.code
    for more in kind.__subclasses__():
        yield from _codes(more)


_CODES = sorted({*_codes(ProviderError), StreamsvcError.code})
"""How calls can fail."""


class Metrics:
    """The figures of this process.

    Args:
        hooks: report what happens.
        providers: the entries of the settings.
        convention: which names the figures of the GenAI conventions have.
    """

    def __init__(
        self, hooks: Hooks, providers: Mapping[str, ProviderSettings], convention: Convention
    ) -> None:
        self._models: set[str] = set()
        self._gauges: list[Gauge] = []
        self._answers = _Answers(self._model)
        self._calls = _Calls(self._model, convention)
        self._viewers = _Viewers()
        self._requests = Counter(names.REQUESTS)
        self._first_byte = Histogram(names.FIRST_BYTE_SECONDS)
        self._refusals = Counter(names.REFUSALS)
        self._outages = Counter(names.STORE_OUTAGES)
        build = Gauge(names.BUILD, lambda: {(__version__, platform.python_version()): 1})
        self._gauges.append(build)
        self._answers.listen(hooks)
        self._calls.listen(hooks)
        self._viewers.listen(hooks)
        hooks.listen(RequestEnded, self._request_ended)
        hooks.listen(Refused, lambda it: self._refusals.add(it.code))
        hooks.listen(StoreChanged, self._store_changed)
        self.use(providers)

    def use(self, providers: Mapping[str, ProviderSettings]) -> None:
        """Count what other settings have, too; what runs keeps its labels."""
        for name, entry in providers.items():
            self._models.add(entry.model)
            self._answers.announce(name, entry.model)
            self._calls.announce(name, entry.model)

    def __iter__(self) -> Iterator[Series]:
        """Iterate over all figures."""
        yield from self._answers.series
        yield from self._calls.series
        yield from self._viewers.series
        yield from (self._requests, self._first_byte, self._refusals, self._outages)
        yield from self._gauges

    def gauge(self, metric: Metric, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Add what is read when somebody asks.

        Args:
            metric: its name and labels.
            read: returns the present values, by the values of the labels.
        """
        self._gauges.append(Gauge(metric, read))

    def value(self, metric: Metric, read: Callable[[], float]) -> None:
        """Add one number without labels that is read when somebody asks."""
        self.gauge(metric, lambda: {(): read()})

    def _model(self, model: str) -> str:
        return model if model in self._models else OTHER

    def _request_ended(self, it: RequestEnded) -> None:
        self._requests.add(it.method, it.route, str(it.status))
        if it.first_byte_seconds is not None:
            self._first_byte.observe(it.route, value=it.first_byte_seconds, traceparent=it.trace)

    def _store_changed(self, it: StoreChanged) -> None:
        if it.state == "lost":
            self._outages.add(it.reason)


class _Answers:
    """The figures of answers, and what they cost.

    Args:
        model: returns the label of a model.

    Attributes:
        series: the figures.
    """

    def __init__(self, model: Callable[[str], str]) -> None:
        self._model = model
        self._started = Counter(names.GENERATIONS_STARTED)
        self._ended = Counter(names.GENERATIONS)
        self._moved = Counter(names.GENERATIONS_MOVED)
        self._seconds = Histogram(names.GENERATION_SECONDS)
        self._first_token = Histogram(names.FIRST_TOKEN_SECONDS)
        self._tokens = Counter(names.TOKENS_USED)
        self._money = Money()
        self.series: tuple[Series, ...] = (
            *(self._started, self._ended, self._moved, self._seconds, self._first_token),
            *(self._tokens, self._money.saved, self._money.wasted),
        )

    def listen(self, hooks: Hooks) -> None:
        """Count from now on."""
        hooks.listen(GenerationStarted, self._on_started)
        hooks.listen(FirstToken, self._on_first_token)
        hooks.listen(GenerationEnded, self._on_ended)
        hooks.listen(CallEnded, self._on_call)

    def announce(self, provider: str, model: str) -> None:
        """Begin the series of an entry with 0, so that their first increase is seen."""
        self._started.add(provider, by=0)
        for outcome in Outcome:
            self._ended.add(provider, model, str(outcome), by=0)
        for kind in ("input", "output"):
            self._tokens.add(provider, model, kind, "provider", by=0)
        for saving in SAVING:
            self._money.saved.add(provider, model, str(saving), by=0)
        for waste in WASTES:
            self._money.wasted.add(provider, model, waste, by=0)

    def _on_started(self, it: GenerationStarted) -> None:
        if it.takes_over:
            self._moved.add("received")
        else:
            self._started.add(it.provider)

    def _on_first_token(self, it: FirstToken) -> None:
        model = self._model(it.model)
        self._first_token.observe(it.provider, model, value=it.seconds, traceparent=it.trace)

    def _on_call(self, it: CallEnded) -> None:
        self._money.call_ended(it, self._model(it.model))

    def _on_ended(self, it: GenerationEnded) -> None:
        done, model = it.done, self._model(it.model)
        self._money.generation_ended(it, model)
        if it.end != "finished":
            self._moved.add(it.end)
            return
        self._ended.add(done.provider, model, str(done.outcome))
        self._seconds.observe(done.provider, value=it.seconds, traceparent=it.trace)
        if done.usage is not None:
            source = "estimated" if done.usage.estimated else "provider"
            for kind, tokens in _kinds(done.usage).items():
                self._tokens.add(done.provider, model, kind, source, by=tokens)


class _Calls:
    """The figures of calls to providers.

    Args:
        model: returns the label of a model.
        convention: which names those of the GenAI conventions have.

    Attributes:
        series: the figures.
    """

    def __init__(self, model: Callable[[str], str], convention: Convention) -> None:
        self._model = model
        own = GEN_AI[convention]
        self._ended = Counter(names.CALLS)
        self._pieces = Counter(names.PIECES)
        self._openings = Counter(names.CIRCUIT_OPENINGS)
        self._seconds = Histogram(own.duration)
        self._first_chunk = Histogram(own.first_chunk)
        self._chunk_gap = Histogram(own.chunk_gap)
        kinds: dict[str, Counter | Histogram] = {}
        for metric in own.tokens:
            kinds[metric.name] = Histogram(metric) if metric.buckets else Counter(metric)
        self._usage = {kind: kinds[metric.name] for kind, metric in own.usage.items()}
        self.series: tuple[Series, ...] = (
            *(self._ended, self._pieces, self._openings),
            *(self._seconds, self._first_chunk, self._chunk_gap, *kinds.values()),
        )

    def listen(self, hooks: Hooks) -> None:
        """Count from now on."""
        hooks.listen(CallEnded, self._on_ended)
        hooks.listen(CircuitChanged, self._on_circuit)

    def announce(self, provider: str, model: str) -> None:
        """Begin the series of an entry with 0, so that their first increase is seen."""
        self._openings.add(provider, by=0)
        self._pieces.add(provider, model, by=0)
        for code in ("ok", *_CODES):
            self._ended.add(provider, model, code, by=0)

    def _on_circuit(self, it: CircuitChanged) -> None:
        if it.state == "open":
            self._openings.add(it.provider)

    def _on_ended(self, it: CallEnded) -> None:
        model = self._model(it.model)
        self._ended.add(it.provider, model, it.code or "ok")
        if it.pieces:
            self._pieces.add(it.provider, model, by=it.pieces)
        labels = (it.provider, *operation_of(it.kind), model)
        self._seconds.observe(*labels, it.code, value=it.seconds, traceparent=it.trace)
        self._chunk_gap.add(*labels, gaps=it.gaps)
        if (first := it.first_piece_seconds) is not None:
            self._first_chunk.observe(*labels, value=first, traceparent=it.trace)
        for kind, tokens in _kinds(it.usage).items() if it.usage is not None else ():
            series = self._usage.get(kind)
            if isinstance(series, Histogram):
                series.observe(*labels, kind, value=tokens)
            elif series is not None:
                series.add(*labels, by=tokens)


class _Viewers:
    """The figures of viewers.

    Attributes:
        series: the figures.
    """

    def __init__(self) -> None:
        self._started = Counter(names.VIEWER_STREAMS_STARTED)
        self._ended = Counter(names.VIEWER_STREAMS)
        self._first_frame = Histogram(names.VIEWER_FIRST_FRAME_SECONDS)
        self._gaps = Histogram(names.VIEWER_GAP_SECONDS)
        self._sent = Counter(names.VIEWER_SENT_BYTES)
        self._keepalives = Counter(names.VIEWER_KEEPALIVES)
        self._resumes = Counter(names.VIEWER_RESUMES)
        self._replayed = Counter(names.VIEWER_REPLAYED_RECORDS)
        for result in get_args(ResumeResult):
            self._resumes.add(result, by=0)
        self._replayed.add(by=0)
        self.series: tuple[Series, ...] = (
            *(self._started, self._ended, self._first_frame, self._gaps, self._sent),
            *(self._keepalives, self._resumes, self._replayed),
        )

    def listen(self, hooks: Hooks) -> None:
        """Count from now on."""
        hooks.listen(ViewerJoined, self._on_joined)
        hooks.listen(ViewerLeft, self._on_left)
        hooks.listen(Resumed, self._on_resumed)

    def _on_joined(self, it: ViewerJoined) -> None:
        if (it.dialect,) not in self._started.values:
            for reason in get_args(DropReason):
                self._ended.add(it.dialect, reason, by=0)
        self._started.add(it.dialect)

    def _on_left(self, it: ViewerLeft) -> None:
        self._ended.add(it.dialect, it.reason)
        self._sent.add(it.dialect, by=it.sent_bytes)
        self._keepalives.add(it.dialect, by=it.keepalives)
        self._gaps.add(it.dialect, gaps=it.gaps)
        if (first := it.first_frame_seconds) is not None:
            self._first_frame.observe(it.dialect, value=first, traceparent=it.trace)

    def _on_resumed(self, it: Resumed) -> None:
        self._resumes.add(it.result)
        self._replayed.add(by=it.replayed)


def _kinds(usage: Usage) -> Mapping[str, int]:
    """Return the tokens of an answer by kind, without those that the provider does not report."""
    kinds = {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "reasoning": usage.reasoning_tokens,
        "cache_read": usage.cached_tokens,
        "cache_write": usage.cache_write_tokens,
    }
    return {kind: tokens for kind, tokens in kinds.items() if tokens is not None}
