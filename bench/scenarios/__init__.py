"""The scenarios; each yields samples as it measures them."""

from collections.abc import AsyncIterator, Callable, Mapping

from bench.scenarios.guarding import guard
from bench.scenarios.holding import held, memory
from bench.scenarios.latency import latency
from bench.scenarios.requests import requests
from bench.scenarios.sharing import foreign, shared_log, workers
from bench.scenarios.startup import startup
from bench.scenarios.teardown import teardown
from bench.scenarios.throughput import fan_out, paced, unpaced
from bench.stage import Sample, Stage

Scenario = Callable[[Stage], AsyncIterator[Sample]]

SCENARIOS: Mapping[str, Scenario] = {
    "startup": startup,
    "paced": paced,
    "unpaced": unpaced,
    "requests": requests,
    "fan-out": fan_out,
    "latency": latency,
    "teardown": teardown,
    "memory": memory,
    "held": held,
    "shared-log": shared_log,
    "foreign": foreign,
    "workers": workers,
    "guard": guard,
}
"""By name, in the order in which they run."""
