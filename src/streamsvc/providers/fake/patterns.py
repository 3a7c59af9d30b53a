"""Texts that match a regular expression: the shortest one, for the `pattern` of a JSON Schema.

JSON Schema uses the expressions of ECMA-262. What most schemas use means the same in Python, so `re` decides which
characters an atom takes. Look-arounds, back references and Unicode properties are not understood.
"""

import re
import string

MAX_PATTERN_CHARS = 1000
"""How long an expression may be that is looked at: brackets that nothing closes take the square of it."""

MAX_CHARS = 10_000
"""How long a text may become: nested repetitions multiply."""

_CANDIDATES = string.ascii_letters + string.digits + "_- " + string.punctuation + "é€😀\n"

_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?(?::|P?<[A-Za-z_]\w*>))?|\{\d+(?:,\d*)?\}|.", re.DOTALL
)
_COUNT = re.compile(r"\{(\d+)(,?)(\d*)\}")
_EMPTY = frozenset(("^", "$", r"\b", r"\B"))
_SPECIAL_IN_A_SET = re.compile(r"\\.|[\[&~|]", re.DOTALL)
"""Characters that Python may give a meaning within brackets one day; it warns of them."""


class _Unknown(ValueError):
    """Something in the expression is not understood, or takes no character."""


def text_for(pattern: str, least: int = 0, variant: int = 0) -> str | None:
    """Return a text that matches *pattern*, or None.

    Args:
        pattern: the expression.
        least: how long the text should be, in characters, if the expression allows it.
        variant: another text for each number, as far as the expression allows.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        return None
    try:
        text = _Writer(pattern, 0, variant).write()
        if len(text) < least:
            text = _Writer(pattern, least - len(text), variant).write()
    except _Unknown:
        return None
    return text


class _Writer:
    """Reads an expression from left to right, and writes the first text that matches.

    Args:
        pattern: the expression.
        missing: how many characters it would be too short; open-ended repetitions make up for them.
        variant: which of the characters that an atom takes.
    """

    def __init__(self, pattern: str, missing: int, variant: int) -> None:
        self._tokens = _TOKEN.findall(pattern)
        self._at = 0
        self._missing = missing
        self._variant = variant

    def write(self) -> str:
        """Return the text."""
        try:
            text = self._branches()
        except RecursionError as exc:
            raise _Unknown from exc
        if self._at < len(self._tokens):
            raise _Unknown  # a parenthesis that nothing opens
        return text

    def _branches(self) -> str:
        """Read alternatives up to the end of their group; the first one counts."""
        first = self._sequence()
        while self._peek() == "|":
            self._at += 1
            self._sequence()
        return first

    def _sequence(self) -> str:
        text = ""
        while (token := self._peek()) not in ("", "|", ")"):
            self._at += 1
            text += self._repeated(self._atom(token))
            if len(text) > MAX_CHARS:
                raise _Unknown
        return text

    def _atom(self, token: str) -> str:
        if token in _EMPTY:
            return ""
        if token[0] != "(":
            return _character(token, self._variant)
        text = self._branches()
        if self._peek() != ")":
            raise _Unknown
        self._at += 1
        return text

    def _repeated(self, text: str) -> str:
        """Read a repetition after an atom, and apply it."""
        sign = self._peek()
        if sign in ("*", "+", "?"):
            least, is_open = int(sign == "+"), sign != "?"
        elif found := _COUNT.fullmatch(sign):
            least, is_open = int(found[1]), bool(found[2])
        else:
            return text
        self._at += 1
        if self._peek() == "?":  # lazy
            self._at += 1
        count = least
        if is_open and text and self._missing:
            count += min(-(-self._missing // len(text)), _most(sign) - least)
            self._missing = max(0, self._missing - (count - least) * len(text))
        if len(text) * count > MAX_CHARS:
            raise _Unknown
        return text * count

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""


def _most(token: str) -> int:
    """Return how often a repetition without a fixed number may apply."""
    found = _COUNT.fullmatch(token)
    return int(found[3]) if found and found[3] else MAX_CHARS


def _character(atom: str, variant: int) -> str:
    """Return a character that an atom takes."""
    if atom in ("*", "+", "?") or _COUNT.fullmatch(atom):
        raise _Unknown  # it repeats nothing, as in a look-around
    if atom[0] == "[":
        atom = "[" + _SPECIAL_IN_A_SET.sub(_escaped, atom[1:])
    try:
        taken = re.compile(atom if atom[0] in "\\[." else re.escape(atom))
    except re.error as exc:
        raise _Unknown from exc
    fitting = [it for it in (*_CANDIDATES, atom) if taken.fullmatch(it)]
    if not fitting:
        raise _Unknown
    return str(fitting[variant % len(fitting)])


def _escaped(found: re.Match[str]) -> str:
    return found[0] if len(found[0]) > 1 else f"\\{found[0]}"
