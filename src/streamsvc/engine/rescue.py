"""How the answer of a further attempt is fitted to what viewers already have.

The model gets the same question again; it is not asked to continue a text, because many models refuse that. If it
says the same again, viewers notice nothing. If it says something else, they get a `Restart`.
"""

from collections.abc import Sequence

from streamsvc.events import Reasoning, Restart, Text

PIECE_CHARS = 4096
"""How much is said at once of what two attempts have in common: viewers encode an event in one step."""


class CatchUp:
    """Turns what a further attempt says into what viewers still lack.

    The answer's text is what counts. Thinking that goes before it has been shown once, and is left
    out; models hardly think the same twice.

    Args:
        said: the text that viewers have.
        restart: what they are told if the new answer is another one.
    """

    def __init__(self, said: str, restart: Restart) -> None:
        self._said = said
        self._restart = restart
        self._again = 0  # how much of what was said has been said again
        self._is_over = False

    def take(self, delta: Text | Reasoning) -> Sequence[Restart | Text | Reasoning]:
        """Return what is to be said now that the attempt has said *delta*."""
        if self._is_over:
            return (delta,)
        if isinstance(delta, Reasoning):
            return ()
        if self._said.startswith(delta.text, self._again):
            self._again += len(delta.text)
            return ()
        rest = self._said[self._again :]
        if delta.text.startswith(rest):
            self._is_over = True
            return (Text(delta.text.removeprefix(rest)),)
        return self._begin_anew(self._said[: self._again] + delta.text)

    def finish(self) -> Sequence[Restart | Text]:
        """Return what is to be said when the attempt ends: a shorter answer is another one."""
        if self._is_over or self._again == len(self._said):
            return ()
        return self._begin_anew(self._said[: self._again])

    def _begin_anew(self, text: str) -> Sequence[Restart | Text]:
        self._is_over = True
        pieces = (text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS))
        return (self._restart, *map(Text, pieces))
