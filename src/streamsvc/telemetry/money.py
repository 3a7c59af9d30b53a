"""What stopping an answer has saved, and what was paid for without need: estimates, in output tokens.

A piece of an answer counts as one token, which nearly all are. `names` explains the figures to operators.
"""

from streamsvc.events import Outcome
from streamsvc.hooks import CallEnded, GenerationEnded
from streamsvc.telemetry.names import TOKENS_SAVED, TOKENS_WASTED
from streamsvc.telemetry.series import Counter

SAVING = (Outcome.CLIENT_STOP, Outcome.NO_VIEWERS)
"""The outcomes of answers that nobody wanted any more."""

WASTES = ("rescue", "unwatched", "double_spend")
"""Why tokens were generated without need."""

MEAN_OVER = 100
"""From this many complete answers on, the mean follows the newer ones."""


class Mean:
    """The mean length of answers.

    Attributes:
        value: in tokens.
        count: how many answers it is of.
    """

    __slots__ = ("count", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.count = 0

    def add(self, tokens: int) -> None:
        """Take the length of one more answer."""
        self.count += 1
        self.value += (tokens - self.value) / min(self.count, MEAN_OVER)


class Money:
    """Counts what was saved and wasted.

    Attributes:
        saved: tokens that were not generated.
        wasted: tokens that were generated without need.
    """

    def __init__(self) -> None:
        self.saved = Counter(TOKENS_SAVED)
        self.wasted = Counter(TOKENS_WASTED)
        self._means: dict[tuple[str, str], Mean] = {}
        # The entry, model and pieces of the call whose answer viewers have, by generation.
        self._broken: dict[str, tuple[str, str, int]] = {}

    def call_ended(self, it: CallEnded, model: str) -> None:
        """Note a call: the pieces of one that broke off are wasted once another call has given pieces.

        Args:
            it: the call.
            model: the label of its model.
        """
        if not it.pieces:
            return
        if (earlier := self._broken.pop(it.generation, None)) is not None:
            provider, earlier_model, pieces = earlier
            self.wasted.add(provider, earlier_model, "rescue", by=pieces)
        if it.code and it.code != "cancelled":
            self._broken[it.generation] = (it.provider, model, it.pieces)

    def generation_ended(self, it: GenerationEnded, model: str) -> None:
        """Note the end of an answer.

        Args:
            it: the answer.
            model: the label of its model.
        """
        self._broken.pop(it.generation, None)
        entry = it.done.provider
        if it.end != "finished":
            if it.pieces:
                self.wasted.add(entry, model, "double_spend", by=it.pieces)
            return
        if it.unwatched_pieces:
            self.wasted.add(entry, model, "unwatched", by=it.unwatched_pieces)
        mean = self._means.setdefault((entry, model), Mean())
        if it.done.outcome is Outcome.COMPLETED:
            usage = it.done.usage
            mean.add(it.pieces if usage is None else usage.output_tokens)
        elif it.done.outcome in SAVING and mean.count:
            expected = mean.value if it.max_tokens is None else min(it.max_tokens, mean.value)
            self.saved.add(entry, model, str(it.done.outcome), by=max(0.0, expected - it.pieces))
