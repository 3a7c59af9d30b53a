"""How the answer of another attempt is fitted to what viewers already have.

The model gets the same question again; it is not asked to continue a text, because many models refuse that. If it
says the same again, viewers notice nothing. If it says something else, they get a `Restart`.
"""

from collections.abc import Sequence

from streamsvc.events import Delta, Logprobs, Reasoning, Restart, Text

PIECE_CHARS = 4096
"""How much of the text that two attempts have in common one event holds: it is encoded in one step."""


class CatchUp:
    """Turns the deltas of another attempt into what viewers still lack.

    Only the answer's text counts. Reasoning before it has been shown once and is left out: models hardly
    ever repeat it. A tool call that was half written cannot be caught up with, nor can a refusal: the new answer
    replaces them.

    Args:
        shown: the text that viewers have.
        restart: announces the new answer if it is a different one.
        is_text: whether viewers have text and reasoning only.
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
        # Viewers have a draft that nothing can continue, or the text is over, and one begins.
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
        """Return the events to emit when the attempt ends: a shorter answer is a different one."""
        if self._is_over or (self._is_text and self._repeated == len(self._shown)):
            return ()
        return self._restart_with(self._shown[: self._repeated])

    def _restart_with(self, text: str) -> Sequence[Restart | Text]:
        self._is_over = True
        pieces = (text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS))
        return (self._restart, *map(Text, pieces))
