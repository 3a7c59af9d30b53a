"""Fits the answer of another attempt to what viewers already have.

The model gets the same question again; it is not asked to continue a text, because many models refuse that. If it
repeats the same text, viewers notice nothing. If its text differs, they get a `Restart`.
"""

from collections.abc import Sequence

from streamsvc.events import Delta, Logprobs, Reasoning, Restart, Text

PIECE_CHARS = 4096
"""How many characters of the text that two attempts share go into one event, which is encoded in one step."""


class CatchUp:
    """Turns the deltas of another attempt into the events that viewers still need.

    Only the answer's text is compared. Reasoning before the text goes beyond what viewers have is left out: they
    have already seen some, and models hardly ever repeat it. A partial tool call or a refusal cannot be continued:
    the new answer replaces it.

    Args:
        shown: the text that viewers have.
        restart: announces the new answer if it differs.
        is_text: whether viewers only have text and reasoning.
    """

    def __init__(self, shown: str, restart: Restart, *, is_text: bool = True) -> None:
        self._shown = shown
        self._restart = restart
        self._is_text = is_text
        self._repeated = 0  # how many characters of it the attempt has repeated
        self._is_over = False

    def take(self, delta: Delta) -> Sequence[Restart | Delta]:
        """Return the events to emit for the attempt's next delta."""
        if self._is_over:
            return (delta,)
        if isinstance(delta, Reasoning | Logprobs) and self._is_text:
            return ()
        if isinstance(delta, Text) and self._is_text:
            return self._compare(delta.text)
        # Viewers have a draft that cannot be continued, or the text has ended and a draft begins.
        events = (*self.finish(), delta)
        self._is_over = True
        return events

    def _compare(self, text: str) -> Sequence[Restart | Text]:
        """Return what a piece of text adds to what viewers have, or the new answer so far if it differs."""
        if self._shown.startswith(text, self._repeated):
            self._repeated += len(text)
            return ()
        rest = self._shown[self._repeated :]
        if text.startswith(rest):
            self._is_over = True
            return (Text(text.removeprefix(rest)),)
        return self._restart_with(self._shown[: self._repeated] + text)

    def finish(self) -> Sequence[Restart | Text]:
        """Return the events to emit when the attempt ends: a shorter answer also differs."""
        if self._is_over or (self._is_text and self._repeated == len(self._shown)):
            return ()
        return self._restart_with(self._shown[: self._repeated])

    def _restart_with(self, text: str) -> Sequence[Restart | Text]:
        self._is_over = True
        pieces = (text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS))
        return (self._restart, *map(Text, pieces))
