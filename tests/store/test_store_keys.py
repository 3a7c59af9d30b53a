"""Keys and ids: every generation has a partition, which its id names and its keys share."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.config.settings import LogSettings
from streamsvc.store.client import Store
from streamsvc.store.keys import (
    PARTITIONS,
    Keys,
    home_of,
    new_worker_name,
    partition_mark,
    partition_of,
)
from support.logged import logged

ids = st.one_of(st.text(max_size=40), st.from_regex(r"gen_[a-z2-7]{32}", fullmatch=True))


@given(ids)
def test_every_string_has_a_partition(generation: str) -> None:
    assert 0 <= partition_of(generation) < PARTITIONS


@given(st.integers(0, PARTITIONS - 1))
def test_an_id_with_a_mark_is_in_that_partition(partition: int) -> None:
    for _ in range(8):
        assert partition_of(f"gen_{partition_mark(partition)}{'a' * 30}") == partition


def test_random_ids_spread_over_all_partitions() -> None:
    characters = "abcdefghijklmnopqrstuvwxyz234567"
    shares = Counter(partition_of(f"gen_{one}{two}x") for one in characters for two in characters)
    assert set(shares.values()) == {len(characters) ** 2 // PARTITIONS}


@given(ids)
def test_all_keys_of_a_generation_are_in_one_slot(generation: str) -> None:
    """Redis Cluster hashes what is between the first braces."""
    keys = Keys("a:b")
    names = [kind(generation) for kind in (keys.meta, keys.log, keys.request, keys.viewers)]
    tags = {name.split(b"{")[1].split(b"}")[0] for name in names}
    assert tags == {str(partition_of(generation)).encode()}
    assert len(set(names)) == 4
    assert all(name.startswith(b"a:b:{") for name in names)


@given(st.text(), st.text())
def test_what_clients_choose_is_hashed_into_key_names(one: str, other: str) -> None:
    """Their keys and chats could hold secrets, or braces, and may even be half a character."""
    keys = Keys("p")
    for kind in (keys.idempotency, keys.lock, keys.chat):
        assert re.fullmatch(rb"p:\{\d+\}:\w+:[0-9a-f]{64}", kind(one))
        assert (kind(one) == kind(other)) is (one == other)
    assert keys.idempotency(one).split(b"}")[0] == keys.lock(one).split(b"}")[0]
    assert keys.chat("\ud83d") != keys.chat("\ud83e")


def test_a_worker_has_its_own_keys_in_its_home() -> None:
    keys, names = Keys("p"), {new_worker_name() for _ in range(50)}
    assert len(names) == 50
    for name in names:
        assert 0 <= home_of(name) < PARTITIONS
        for key in (keys.control(name), keys.probe(name)):
            assert key.startswith(b"p:{%d}:" % home_of(name))
    assert keys.wake(7, "w") == b"p:{7}:wake:w"


async def test_a_process_makes_its_ids_in_one_partition() -> None:
    store = Store(LogSettings(kind="redis"), logged())
    assert store.home == home_of(store.worker)
    await store.close()


@pytest.mark.parametrize("generation", ["", "gen_", "gen_A", "\ud83d", "x" * 500])
def test_strange_ids_have_keys(generation: str) -> None:
    if generation.isprintable():
        assert Keys("p").meta(generation)
