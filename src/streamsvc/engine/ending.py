"""How a generation ended, as its `Done`: one method for each way to end."""

from collections.abc import Mapping

import msgspec

from streamsvc.errors import StreamsvcError
from streamsvc.events import AnswerEnd, Done, FinishReason, Outcome, PublicError, Status
from streamsvc.provider_errors import ProviderContentFiltered, ProviderError
from streamsvc.providers.base import Finish

_STATUS: Mapping[AnswerEnd, Status] = {
    "stop": Status.COMPLETED,
    "tool_calls": Status.COMPLETED,
    "length": Status.INCOMPLETE,
    "content_filter": Status.INCOMPLETE,
    "other": Status.INCOMPLETE,
}

_DRAINED = PublicError(
    "drained", "The service shut down before the answer was complete; ask again.", retryable=True
)

_LOST = PublicError(
    "upstream_lost",
    "The process that generated the answer ended unexpectedly, and the answer cannot be completed; ask again.",
    retryable=True,
)

_REFUSED = PublicError(
    ProviderContentFiltered.code, ProviderContentFiltered.message, retryable=False
)


class Ending:
    """Makes the `Done` of one generation.

    Args:
        provider: the entry that answered, or whose failure is reported.
        model: the model that was requested from it.
    """

    __slots__ = ("_model", "_provider")

    def __init__(self, provider: str, model: str) -> None:
        self._provider = provider
        self._model = model

    def finished(self, finish: Finish) -> Done:
        """The model ended the answer."""
        return Done(
            status=_STATUS[finish.reason],
            finish_reason=finish.reason,
            provider_finish_reason=finish.provider_reason,
            outcome=Outcome.COMPLETED,
            provider=self._provider,
            model=finish.model or self._model,
            usage=finish.usage,
            error=_REFUSED if finish.is_refused else None,
            provider_data=finish.provider_data or msgspec.UNSET,
        )

    def provider_failed(self, error: ProviderError) -> Done:
        """No provider gave a complete answer."""
        public = PublicError(error.code, error.message, error.retryable)
        return self._failed(Outcome(error.outcome), public)

    def crashed(self) -> Done:
        """A bug in the service."""
        public = PublicError(StreamsvcError.code, StreamsvcError.message, retryable=True)
        return self._failed(Outcome.INTERNAL_ERROR, public)

    def log_full(self) -> Done:
        """The answer is longer than the log may hold; the answer so far is kept."""
        return self._ended(Status.INCOMPLETE, "length", Outcome.LOG_FULL)

    def lost(self) -> Done:
        """Its process is gone, and no other process can go on with it."""
        return self._failed(Outcome.UPSTREAM_LOST, _LOST)

    def stopped(self, outcome: Outcome) -> Done:
        """It was cancelled. A drain counts as a failure, because nobody wanted the answer to end."""
        if outcome is Outcome.DRAINED:
            return self._failed(outcome, _DRAINED)
        if outcome is Outcome.UPSTREAM_LOST:
            return self.lost()
        return self._ended(Status.STOPPED, "stopped", outcome)

    def _failed(self, outcome: Outcome, error: PublicError) -> Done:
        return self._ended(Status.FAILED, "error", outcome, error)

    def _ended(
        self,
        status: Status,
        reason: FinishReason,
        outcome: Outcome,
        error: PublicError | None = None,
    ) -> Done:
        return Done(
            status=status,
            finish_reason=reason,
            outcome=outcome,
            provider=self._provider,
            model=self._model,
            error=error,
        )
