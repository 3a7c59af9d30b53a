"""The report of one call to a provider, for the hooks."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager

from typing_extensions import override

from streamsvc.engine.attempt import Pace
from streamsvc.engine.entries import ProviderEntry
from streamsvc.errors import LogError, StreamsvcError
from streamsvc.eventloop import now
from streamsvc.hooks import CallEnded, Hooks
from streamsvc.messages import GenerationRequest, Prompt
from streamsvc.provider_errors import ProviderError
from streamsvc.providers.base import Finish
from streamsvc.tracecontext import UNTRACED, sampled
from streamsvc.traces import causes

TRACED_PARAMETERS = (
    *("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty"),
    *("max_tokens", "seed", "reasoning_effort"),
)
"""The fields of a `Prompt` that say nothing of its content."""


class CallReport(AbstractContextManager["CallReport"]):
    """Measures one call while it is entered, and reports its end to the hooks, however it ends.

    Args:
        hooks: get the report.
        generation: the id of the answer.
        request: what the answer is for.
        entry: the entry that is called.
        model: the model that is asked for.
        number: of the call, from 1.
        has_begun: whether viewers have a piece of the answer already.

    Attributes:
        pace: when its pieces came.
        trace: the `traceparent` of its span; "" if it is not traced.
        finish: how it ended; None: it has not, or it failed.
    """

    __slots__ = (
        "_began_at",
        "_entry",
        "_generation",
        "_has_begun",
        "_hooks",
        "_model",
        "_number",
        "_request",
        "finish",
        "pace",
        "trace",
    )

    def __init__(  # noqa: PLR0913  # what it says, most of it passed by name
        self,
        hooks: Hooks,
        generation: str,
        request: GenerationRequest,
        entry: ProviderEntry,
        *,
        model: str,
        number: int,
        has_begun: bool,
    ) -> None:
        self.pace = Pace()
        self.trace = (request.trace or UNTRACED).child()
        self.finish: Finish | None = None
        self._hooks = hooks
        self._generation = generation
        self._request = request
        self._entry = entry
        self._model = model
        self._number = number
        self._has_begun = has_begun
        self._began_at = time.time()

    @override
    def __exit__(
        self, _kind: type[BaseException] | None, failure: BaseException | None, *_: object
    ) -> None:
        entry, pace, finish = self._entry, self.pace, self.finish
        error = failure if isinstance(failure, ProviderError) else None
        code = _code_of(failure)
        self._hooks.notify(
            CallEnded(
                generation=self._generation,
                principal=self._request.principal,
                provider=entry.name,
                kind=entry.section.kind,
                model=self._model,
                answering_model=(finish and finish.model) or "",
                number=self._number,
                began_at=self._began_at,
                seconds=now() - pace.began,
                first_piece_seconds=None if pace.first_at is None else pace.first_at - pace.began,
                gaps=pace.gaps,
                pieces=pace.pieces,
                has_begun=self._has_begun or pace.first_at is not None,
                code=code,
                cause=causes(failure) if failure else "",
                setting=error.setting if error else "",
                finish_reason=finish.reason if finish else "",
                usage=finish.usage if finish else None,
                url=getattr(entry.section, "url", ""),
                parameters=_parameters(self._request.prompt) if sampled(self.trace) else {},
                trace=self.trace,
            )
        )


def _code_of(failure: BaseException | None) -> str:
    """Return the code of a call's end; a log that takes no more also means that the answer is not wanted."""
    match failure:
        case None:
            return ""
        case ProviderError():
            return failure.code
        case LogError():
            return "cancelled"
        case Exception():  # a bug
            return StreamsvcError.code
        case _:
            return "cancelled"


def _parameters(prompt: Prompt) -> Mapping[str, float | str]:
    given = {name: getattr(prompt, name) for name in TRACED_PARAMETERS}
    return {name: value for name, value in given.items() if value is not None}
