"""A log line: an event and its fields, from which text and JSON are made alike.

Every line of this service is logged with `log`. The record's message is a `LogLine`, which any handler can turn into
text (Python's `logging`, "Using arbitrary objects as messages"); `server/log_formats` also makes JSON of it. No field has
anything of a prompt, an answer or a key.
"""

import logging
from collections.abc import Mapping

from typing_extensions import override

Value = str | int | float | bool | None
"""Of a field. None leaves the field out; a float gets three decimals."""


class LogLine:
    """What a line says.

    Args:
        event: what happened, such as `keys.loaded`.
        fields: its details, by name.
        note: a remark for people.

    Attributes:
        event: as above.
        fields: as above, without those that are None.
        note: as above; "" if there is none.
    """

    __slots__ = ("event", "fields", "note")

    def __init__(self, event: str, fields: Mapping[str, Value], note: str = "") -> None:
        self.event = event
        self.fields = {name: value for name, value in fields.items() if value is not None}
        self.note = note

    @override
    def __str__(self) -> str:
        if not self.fields:
            return f"{self.event}: {self.note}" if self.note else self.event
        # A list and no generator, and no call for a text: this runs for every answer.
        fields = " ".join(
            [
                f"{name}={value if type(value) is str else _text(value)}"
                for name, value in self.fields.items()
            ]
        )
        return f"{self.event} {fields}{f' ({self.note})' if self.note else ''}"


def log(logger: logging.Logger, level: int, event: str, note: str = "", /, **fields: Value) -> None:
    """Log a line: `event name=value …`.

    Args:
        logger: of the module.
        level: such as `logging.INFO`.
        event: see `LogLine`.
        note: see `LogLine`.
        fields: see `LogLine`.
    """
    if logger.isEnabledFor(level):
        # Not `Logger.log`, which would look for the caller, and find this line.
        line = LogLine(event, fields, note)
        logger.handle(logger.makeRecord(logger.name, level, __file__, 0, line, (), None))


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3f}" if isinstance(value, float) else str(value)
