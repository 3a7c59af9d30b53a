"""The circuit of one provider entry: what opens it, which calls may probe, and what closes it."""

import logging
from contextlib import suppress
from itertools import product

import anyio
import pytest

from streamsvc.engine.circuit import TRANSITIONS, Circuit, Move, State
from streamsvc.provider_errors import ContextLengthExceeded, ProviderError, ProviderUnavailable
from support.doubles import virtual_backends
from support.logged import logged

anyio_backend = virtual_backends()

SECONDS = 15.0

NEVER = {
    (State.CLOSED, Move.PROBE),
    (State.CLOSED, Move.ABANDON),
    (State.CLOSED, Move.RECOVER),
    (State.OPEN, Move.TRIP),
    (State.OPEN, Move.ABANDON),
    (State.PROBING, Move.PROBE),
}
"""Moves that cannot happen."""


def new_circuit(failures: int = 3) -> Circuit:
    return Circuit("fake", failures=failures, seconds=SECONDS, hooks=logged())


def state_of(circuit: Circuit) -> State:
    return circuit.state


def admits(circuit: Circuit) -> bool:
    return circuit.admits


def fail(circuit: Circuit, error: ProviderError | None = None, *, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(ProviderError), circuit.call():
            raise error or ProviderUnavailable


def answer(circuit: Circuit) -> None:
    with circuit.call() as on_first_token:
        on_first_token()


def test_the_table_has_every_move_that_can_happen() -> None:
    assert TRANSITIONS.keys() | NEVER == set(product(State, Move))
    assert not TRANSITIONS.keys() & NEVER


@pytest.mark.promise("upstream:rescue")
async def test_enough_failures_in_a_row_open_it() -> None:
    circuit = new_circuit()
    for _ in range(3):
        assert state_of(circuit) is State.CLOSED
        assert admits(circuit)
        fail(circuit)
    assert state_of(circuit) is State.OPEN
    assert not admits(circuit)


async def test_an_answer_resets_the_count() -> None:
    circuit = new_circuit()
    for _ in range(5):
        fail(circuit, times=2)
        answer(circuit)
    assert state_of(circuit) is State.CLOSED


async def test_every_answer_that_breaks_off_counts_as_a_failure() -> None:
    """Its viewers wait for each new beginning."""
    circuit = new_circuit()
    for _ in range(3):
        with suppress(ProviderUnavailable), circuit.call() as on_first_token:
            on_first_token()
            raise ProviderUnavailable
    assert state_of(circuit) is State.OPEN


async def test_failures_caused_by_the_request_do_not_count() -> None:
    circuit = new_circuit()
    fail(circuit, times=2)
    fail(circuit, ContextLengthExceeded(), times=9)
    fail(circuit, times=2)
    assert state_of(circuit) is State.CLOSED


async def test_with_a_bound_of_0_it_never_opens() -> None:
    circuit = new_circuit(failures=0)
    fail(circuit, times=1000)
    assert admits(circuit)


async def test_after_the_pause_one_call_probes_and_others_wait() -> None:
    circuit = new_circuit()
    fail(circuit, times=3)
    await anyio.sleep(SECONDS - 0.001)
    assert not admits(circuit)
    await anyio.sleep(0.002)
    assert admits(circuit)
    with circuit.call() as on_first_token:
        assert state_of(circuit) is State.PROBING
        assert not admits(circuit)
        await anyio.sleep(10 * SECONDS)
        assert not admits(circuit)
        on_first_token()
        assert state_of(circuit) is State.CLOSED
        assert admits(circuit)


@pytest.mark.parametrize("error", [None, ContextLengthExceeded()], ids=["whole", "refused"])
async def test_a_probe_without_a_token_closes_it_if_the_provider_works(
    error: ProviderError | None,
) -> None:
    """An empty answer or a refusal of the request: the circuit must not stay in its probing state."""
    circuit = new_circuit()
    fail(circuit, times=3)
    await anyio.sleep(SECONDS)
    if error:
        fail(circuit, error)
    else:
        with circuit.call():
            pass
    assert state_of(circuit) is State.CLOSED


async def test_a_probe_that_fails_opens_it_for_the_same_time_again() -> None:
    circuit = new_circuit()
    fail(circuit, times=3)
    for _ in range(3):
        await anyio.sleep(SECONDS)
        fail(circuit)
        assert state_of(circuit) is State.OPEN
        assert not admits(circuit)


async def test_after_a_recovery_it_takes_the_full_count_to_open() -> None:
    circuit = new_circuit()
    fail(circuit, times=3)
    await anyio.sleep(SECONDS)
    answer(circuit)
    fail(circuit, times=2)
    assert admits(circuit)


@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize("is_crash", [False, True], ids=["cancelled", "crashed"])
async def test_an_abandoned_probe_lets_the_next_one_through(*, is_crash: bool) -> None:
    circuit = new_circuit()
    fail(circuit, times=3)
    await anyio.sleep(SECONDS)
    if is_crash:
        with pytest.raises(KeyError), circuit.call():
            raise KeyError
    else:
        with anyio.move_on_after(1), circuit.call():
            await anyio.sleep_forever()
    assert state_of(circuit) is State.OPEN
    assert admits(circuit)
    answer(circuit)
    assert state_of(circuit) is State.CLOSED


@pytest.mark.promise("cancel:disconnect")
async def test_a_probe_cancelled_after_its_first_token_has_closed_it() -> None:
    circuit = new_circuit()
    fail(circuit, times=3)
    await anyio.sleep(SECONDS)
    with anyio.move_on_after(1), circuit.call() as on_first_token:
        on_first_token()
        await anyio.sleep_forever()
    assert state_of(circuit) is State.CLOSED


async def test_a_last_resort_call_that_answers_closes_an_open_circuit() -> None:
    circuit = new_circuit()
    fail(circuit, times=3)
    answer(circuit)
    assert state_of(circuit) is State.CLOSED


async def test_a_failed_last_resort_call_does_not_delay_the_next_probe() -> None:
    circuit = new_circuit()
    fail(circuit, times=3)
    await anyio.sleep(SECONDS - 1)
    fail(circuit, times=9)
    await anyio.sleep(1)
    assert admits(circuit)


async def test_calls_begun_before_it_opened_no_longer_count() -> None:
    """A late answer does not close it, and a late timeout does not open it again."""
    circuit = new_circuit()
    with circuit.call() as on_first_token:
        fail(circuit, times=3)
        on_first_token()
    assert state_of(circuit) is State.OPEN
    answer(circuit)
    with suppress(ProviderUnavailable), circuit.call():
        fail(circuit, times=3)
        await anyio.sleep(SECONDS)
        answer(circuit)
        fail(circuit, times=2)
        raise ProviderUnavailable
    assert state_of(circuit) is State.CLOSED


async def test_a_probe_that_speaks_and_breaks_off_opens_it_again() -> None:
    """Other calls may be let through in between; the first failure among them opens it as well."""
    circuit = new_circuit()
    fail(circuit, times=3)
    for is_another in (False, True):
        await anyio.sleep(SECONDS)
        with suppress(ProviderUnavailable), circuit.call() as on_first_token:
            on_first_token()
            assert admits(circuit)
            if is_another:
                fail(circuit)
                assert not admits(circuit)
            raise ProviderUnavailable
        assert state_of(circuit) is State.OPEN


async def test_an_answer_begun_before_it_opened_does_not_close_it() -> None:
    circuit = new_circuit()
    with circuit.call():
        fail(circuit, times=3)
        await anyio.sleep(SECONDS)
        answer(circuit)
        fail(circuit, times=2)
    fail(circuit)
    assert state_of(circuit) is State.OPEN


async def test_an_overtaken_probe_lets_no_second_one_through() -> None:
    """A last-resort call has failed in the meantime, and another probe is running."""
    circuit = new_circuit()
    fail(circuit, times=3)
    await anyio.sleep(SECONDS)
    with suppress(KeyError), circuit.call():
        fail(circuit)
        await anyio.sleep(SECONDS)
        second = circuit.call()
        second.__enter__()
        raise KeyError
    assert state_of(circuit) is State.PROBING
    second.__exit__(None, None, None)
    assert state_of(circuit) is State.CLOSED


async def test_opening_and_closing_are_logged_once_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Failed probes are not logged."""
    circuit = new_circuit()
    with caplog.at_level(logging.INFO):
        fail(circuit, times=3)
        for _ in range(5):
            await anyio.sleep(SECONDS)
            fail(circuit)
        await anyio.sleep(SECONDS)
        answer(circuit)
    assert [record.getMessage() for record in caplog.records] == [
        "circuit.opened provider=fake failures=3 seconds=15.000",
        "circuit.closed provider=fake",
    ]
