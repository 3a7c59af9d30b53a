"""The figures that are read when somebody asks, from the objects that have them."""

from collections.abc import Callable

from streamsvc.config.settings import Settings
from streamsvc.engine.circuit import State
from streamsvc.engine.supervisor import Supervisor
from streamsvc.hooks import StoreState
from streamsvc.telemetry import names
from streamsvc.telemetry.metrics import Metrics


def watch_engine(metrics: Metrics, supervisor: Supervisor, log_bytes: Callable[[], int]) -> None:
    """Add what runs now, and what may.

    Args:
        metrics: get the figures.
        supervisor: knows what runs, and what may by the current settings.
        log_bytes: returns how much memory logs take.
    """

    def settings() -> Settings:
        return supervisor.terms.settings

    metrics.value(names.GENERATIONS_RUNNING, lambda: supervisor.running)
    metrics.value(names.GENERATIONS_LIMIT, lambda: settings().limits.max_generations)
    metrics.value(names.VIEWERS, lambda: supervisor.viewers)
    metrics.value(names.VIEWERS_LIMIT, lambda: settings().limits.max_viewers)
    metrics.value(names.LOG_BYTES, log_bytes)
    metrics.value(names.LOG_LIMIT_BYTES, lambda: settings().generations.max_total_log_bytes)
    metrics.value(names.DRAINING, lambda: supervisor.is_draining)
    metrics.gauge(
        names.PROVIDER_SLOTS_USED,
        lambda: {(it.name,): float(it.running) for it in supervisor.entries},
    )
    metrics.gauge(
        names.PROVIDER_SLOTS_LIMIT,
        lambda: {(it.name,): float(it.section.max_generations) for it in supervisor.entries},
    )
    metrics.gauge(
        names.PROVIDER_READY, lambda: {(it.name,): float(it.is_ready) for it in supervisor.entries}
    )
    metrics.gauge(
        names.CIRCUIT_STATE,
        lambda: {
            (it.name, str(state)): float(it.circuit.state is state)
            for it in supervisor.entries
            for state in State
        },
    )


def watch_store(metrics: Metrics, state: Callable[[], StoreState]) -> None:
    """Add the state of the shared store.

    Args:
        metrics: get the figures.
        state: returns it.
    """
    metrics.value(names.STORE_UP, lambda: state().is_up)
    metrics.gauge(
        names.STORE_LATENCY_SECONDS,
        lambda: {} if (seconds := state().seconds) is None else {(): seconds},
    )


def watch_connections(
    metrics: Metrics,
    *,
    count: Callable[[], int],
    most: int,
    unread: Callable[[], int],
    most_unread: int,
) -> None:
    """Add the connections of the server.

    Args:
        metrics: get the figures.
        count: returns how many are open.
        most: how many may be.
        unread: returns how many bytes wait for clients.
        most_unread: how many may.
    """
    metrics.value(names.CONNECTIONS, count)
    metrics.value(names.CONNECTIONS_LIMIT, lambda: most)
    metrics.value(names.UNREAD_BYTES, unread)
    metrics.value(names.UNREAD_LIMIT_BYTES, lambda: most_unread)
