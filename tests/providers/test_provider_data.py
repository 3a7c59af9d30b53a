"""Data of a provider goes back to the adapter and the model that gave it, and to no other."""

from typing import Any

import pytest

from streamsvc.providers.provider_data import field, own, stamped

SIGNATURE = {"google": {"thought_signature": "c2ln"}}


def test_stamp_names_the_kind_the_model_and_the_notes() -> None:
    assert stamped(SIGNATURE, "gemini", "g-1", id="7") == {
        **SIGNATURE,
        "streamsvc": {"kind": "gemini", "model": "g-1", "id": "7"},
    }


def test_own_data_is_used() -> None:
    data = stamped(SIGNATURE, "gemini", "g-1", id="7")
    assert own(data, "gemini", "g-1") == data


@pytest.mark.parametrize(("kind", "model"), [("openai", "g-1"), ("gemini", "g-2")])
def test_data_of_another_adapter_or_model_is_dropped(kind: str, model: str) -> None:
    assert own(stamped(SIGNATURE, "gemini", "g-1"), kind, model) == {}


def test_data_without_a_stamp_is_used() -> None:
    assert own(SIGNATURE, "gemini", "g-1") == SIGNATURE


@pytest.mark.parametrize("stamp", [None, "gemini", 7, [], {}, {"kind": "gemini"}])
def test_broken_stamp_is_of_another(stamp: object) -> None:
    assert own({**SIGNATURE, "streamsvc": stamp}, "gemini", "g-1") == {}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (SIGNATURE, "c2ln"),
        ({}, None),
        ({"google": {}}, None),
        ({"google": "c2ln"}, None),
        ({"google": None}, None),
    ],
)
def test_field_of_a_vendor_may_be_missing(data: dict[str, Any], expected: object) -> None:
    assert field(data, "google", "thought_signature") == expected
