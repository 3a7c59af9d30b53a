"""The one way to end a generation early from outside: its cancel scope, together with the reason.

The reason is stored in the same step as the cancellation or its deadline, so nothing has to be
inferred when the scope has ended. There is no separate timer: the deadline is the scope's.
"""

import math

import anyio

from streamsvc.events import Outcome


class StopScope:
    """A cancel scope that knows why it was cancelled.

    Attributes:
        scope: entered around the work; only this class cancels it.
    """

    __slots__ = ("_outcome", "scope")

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self._outcome = Outcome.DRAINED

    @property
    def outcome(self) -> Outcome:
        """Why the work did not end by itself. If it was cancelled from outside, the service shut down."""
        return self._outcome if self.scope.cancel_called else Outcome.DRAINED

    def stop(self, outcome: Outcome) -> None:
        """Cancel the work; the first reason is kept."""
        if not self.scope.cancel_called:
            self._outcome = outcome
            self.scope.cancel()

    def stop_at(self, deadline: float, outcome: Outcome) -> None:
        """Cancel the work at a time of the event loop's clock, unless it is cancelled earlier."""
        if not self.scope.cancel_called:
            self._outcome = outcome
            self.scope.deadline = deadline

    def go_on(self) -> None:
        """Remove the deadline; a cancellation cannot be undone."""
        if not self.scope.cancel_called:
            self.scope.deadline = math.inf
