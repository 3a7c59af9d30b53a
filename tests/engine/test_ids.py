"""Ids: unguessable, and each belongs to one principal."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.engine.ids import ID_PATTERN, check_owner, new_id, scoped
from streamsvc.errors import GenerationNotFound

names = st.text(st.characters(exclude_characters="\0"), max_size=20)


@given(principal=names)
def test_id_belongs_to_its_principal(principal: str) -> None:
    one = new_id(principal)
    assert re.fullmatch(ID_PATTERN, one)
    check_owner(one, principal)


@given(principal=names, other=names)
def test_id_of_another_principal_does_not_exist(principal: str, other: str) -> None:
    if principal != other:
        with pytest.raises(GenerationNotFound):
            check_owner(new_id(principal), other)


@given(st.text())
def test_any_other_text_is_not_found(text: str) -> None:
    with pytest.raises(GenerationNotFound):
        check_owner(text, "")


def test_mark_begins_an_id() -> None:
    assert new_id("a", "zz").startswith("gen_zz")
    check_owner(new_id("a", "zz"), "a")


@given(st.tuples(names, st.text()), st.tuples(names, st.text()))
def test_names_of_two_principals_never_meet(one: tuple[str, str], two: tuple[str, str]) -> None:
    assert (scoped(*one) == scoped(*two)) == (one == two)
