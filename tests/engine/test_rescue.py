"""How a further attempt's answer is fitted to what viewers have: exactly, or announced."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamsvc.engine.rescue import CatchUp
from streamsvc.events import Reasoning, Restart, Text

RESTART = Restart(reason="upstream_cut", provider="other", model="words")

TEXTS = st.text(alphabet="ab \n\U0001f980", max_size=12)
"""Of few characters, so that texts often begin alike."""

Delta = Text | Reasoning


@st.composite
def rescues(draw: st.DrawFn) -> tuple[str, list[Delta]]:
    """What viewers have, and what is said anew: the same and more, a part of it, or anything."""
    said = draw(TEXTS)
    tail = draw(TEXTS)
    part = said[: draw(st.integers(0, len(said)))]
    again = draw(st.sampled_from([said + tail, part, part + tail, tail]))
    ends = sorted(draw(st.lists(st.integers(0, len(again)))))
    pieces = [again[begin:end] for begin, end in zip([0, *ends], [*ends, len(again)], strict=True)]
    deltas: list[Delta] = []
    for piece in pieces:
        if draw(st.booleans()):
            deltas.append(Reasoning("hm"))
        if piece:
            deltas.append(Text(piece))
    return said, deltas


def fit(said: str, deltas: list[Delta]) -> list[Restart | Text | Reasoning]:
    """Return all that viewers are told."""
    catch_up = CatchUp(said, RESTART)
    told = [event for delta in deltas for event in catch_up.take(delta)]
    return [*told, *catch_up.finish()]


def fold(said: str, told: list[Restart | Text | Reasoning]) -> str:
    """Return what a page shows in the end."""
    for event in told:
        match event:
            case Restart():
                said = ""
            case Text(text=text):
                said += text
            case Reasoning():
                pass
    return said


@pytest.mark.promise("upstream:rescue")
@given(rescues())
@example(("", []))
@example(("ab", []))
@example(("", [Text("ab")]))
@example(("ab", [Text("ab")]))
@example(("ab", [Text("abb")]))
def test_viewers_end_up_with_exactly_the_new_answer(
    rescue: tuple[str, list[Delta]],
) -> None:
    """Announced where it does not; never both, and never twice."""
    said, deltas = rescue
    again = "".join(delta.text for delta in deltas if isinstance(delta, Text))
    told = fit(said, deltas)
    assert fold(said, told) == again
    restarts = [event for event in told if isinstance(event, Restart)]
    assert restarts == ([] if again.startswith(said) else [RESTART])
    assert told[: len(restarts)] == restarts
    assert all(event.text for event in told if not isinstance(event, Restart))


@pytest.mark.promise("upstream:rescue")
@given(rescues())
def test_as_much_as_can_be_told_is_told_at_once(rescue: tuple[str, list[Delta]]) -> None:
    """Viewers lack nothing but what may still turn out to be the same."""
    said, deltas = rescue
    catch_up = CatchUp(said, RESTART)
    shown, again = said, ""
    for delta in deltas:
        shown = fold(shown, list(catch_up.take(delta)))
        again += delta.text if isinstance(delta, Text) else ""
        assert shown == (said if said.startswith(again) else again)


@pytest.mark.promise("upstream:rescue")
def test_an_answer_shorter_than_the_first_is_another_one() -> None:
    assert fit("a b c", [Text("a "), Text("b")]) == [RESTART, Text("a b")]


@pytest.mark.promise("upstream:rescue")
def test_an_answer_without_a_word_is_another_one_too() -> None:
    assert fit("a b c", []) == [RESTART]


def test_reasoning_is_shown_once_and_goes_on_after_the_catch_up() -> None:
    told = fit("ab", [Reasoning("x"), Text("a"), Reasoning("y"), Text("bc"), Reasoning("z")])
    assert told == [Text("c"), Reasoning("z")]
