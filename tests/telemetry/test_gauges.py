"""What is read when somebody asks, from objects that a service has besides its engine."""

import pytest

from streamsvc.hooks import Hooks, StoreState
from streamsvc.telemetry.conventions import Convention
from streamsvc.telemetry.exposition import TEXT, Page, merged
from streamsvc.telemetry.gauges import watch_connections, watch_store
from streamsvc.telemetry.metrics import Metrics
from support.figures import Figures, parse


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Hooks(), {}, Convention.V1_41)


async def read(metrics: Metrics) -> Figures:
    page = await Page(metrics).write(TEXT, "1")
    return parse((await merged(TEXT, {"1": page})).decode(), TEXT)


async def test_store_shows_whether_it_can_be_used_and_its_latest_time(metrics: Metrics) -> None:
    state = StoreState(is_up=False, seconds=None)
    watch_store(metrics, lambda: state)
    figures = await read(metrics)
    assert figures.total("streamsvc_store_up") == 0
    assert figures.samples("streamsvc_store_latency_seconds") == []
    state = StoreState(is_up=True, seconds=0.002)
    figures = await read(metrics)
    assert figures.total("streamsvc_store_up") == 1
    assert figures.total("streamsvc_store_latency_seconds") == 0.002


async def test_connections_show_what_clients_do_not_read(metrics: Metrics) -> None:
    watch_connections(metrics, count=lambda: 3, most=10, unread=lambda: 70, most_unread=100)
    figures = await read(metrics)
    names = ("connections", "connections_limit", "unread_bytes", "unread_limit_bytes")
    assert [figures.total(f"streamsvc_{name}") for name in names] == [3, 10, 70, 100]
