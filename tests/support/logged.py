"""Hooks whose log lines are written, as in the service, and a listener that keeps what it hears."""

from typing import TypeVar

from streamsvc.hooks import Detail, Hooks
from streamsvc.telemetry.log_lines import LogLines

D = TypeVar("D", bound=Detail)


def logged() -> Hooks:
    """Return hooks that write the service's log lines."""
    hooks = Hooks()
    LogLines(hooks)
    return hooks


class Heard:
    """Keeps the details that hooks report.

    Args:
        hooks: report them.

    Attributes:
        details: all of them, in order.
    """

    def __init__(self, hooks: Hooks) -> None:
        self.details: list[Detail] = []
        for kind in Detail.__subclasses__():
            hooks.listen(kind, self.details.append)

    def of(self, kind: type[D]) -> list[D]:
        """Return those of one kind."""
        return [detail for detail in self.details if isinstance(detail, kind)]

    def one(self, kind: type[D]) -> D:
        """Return the only one of its kind."""
        (detail,) = self.of(kind)
        return detail
