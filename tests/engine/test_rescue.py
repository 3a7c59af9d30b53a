"""How the answer of a further attempt joins the text that viewers have: exactly, or after a `Restart`."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamsvc.engine.rescue import CatchUp
from streamsvc.events import Delta, Reasoning, Restart, Text

RESTART = Restart(reason="upstream_cut", provider="other", model="words")

TEXTS = st.text(alphabet="ab \n\U0001f980", max_size=12)
"""Texts of few characters, so that many begin alike."""


@st.composite
def rescues(draw: st.DrawFn) -> tuple[str, list[Delta]]:
    """The text that viewers have, and the new answer: the same and more, a part of it, or another one."""
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


def fit(said: str, deltas: list[Delta]) -> list[Restart | Delta]:
    """Return all events that viewers get."""
    catch_up = CatchUp(said, RESTART)
    events = [event for delta in deltas for event in catch_up.take(delta)]
    return [*events, *catch_up.finish()]


def fold(said: str, events: list[Restart | Delta]) -> str:
    """Return the text that a page shows at the end."""
    for event in events:
        match event:
            case Restart():
                said = ""
            case Text(text=text):
                said += text
            case _:
                assert isinstance(event, Reasoning)
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
    """A different answer is announced by one `Restart`, and a matching one by none."""
    said, deltas = rescue
    again = "".join(delta.text for delta in deltas if isinstance(delta, Text))
    events = fit(said, deltas)
    assert fold(said, events) == again
    restarts = [event for event in events if isinstance(event, Restart)]
    assert restarts == ([] if again.startswith(said) else [RESTART])
    assert events[: len(restarts)] == restarts
    assert all(event.text for event in events if isinstance(event, Text | Reasoning))


@pytest.mark.promise("upstream:rescue")
@given(rescues())
def test_text_is_held_back_only_while_it_may_still_match(rescue: tuple[str, list[Delta]]) -> None:
    """All other text is sent at once."""
    said, deltas = rescue
    catch_up = CatchUp(said, RESTART)
    shown, again = said, ""
    for delta in deltas:
        shown = fold(shown, list(catch_up.take(delta)))
        again += delta.text if isinstance(delta, Text) else ""
        assert shown == (said if said.startswith(again) else again)


@pytest.mark.promise("upstream:rescue")
def test_an_answer_shorter_than_the_first_is_a_different_one() -> None:
    assert fit("a b c", [Text("a "), Text("b")]) == [RESTART, Text("a b")]


@pytest.mark.promise("upstream:rescue")
def test_an_answer_without_text_is_a_different_one() -> None:
    assert fit("a b c", []) == [RESTART]


def test_reasoning_is_shown_once_and_continues_after_the_catch_up() -> None:
    events = fit("ab", [Reasoning("x"), Text("a"), Reasoning("y"), Text("bc"), Reasoning("z")])
    assert events == [Text("c"), Reasoning("z")]
