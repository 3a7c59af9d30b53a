"""What `/metrics` says, parsed by prometheus-client's own parsers.

figures = await scrape(service.client)
assert figures.total("streamsvc_generations_total", outcome="completed") == 3
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx2
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text
from prometheus_client.samples import Sample

ACCEPT = "application/openmetrics-text; version=1.0.0"
"""What a client sends that prefers OpenMetrics."""


@dataclass(frozen=True)
class Figures:
    """All metrics of one page.

    Attributes:
        families: by name.
    """

    families: Mapping[str, Metric]

    def samples(self, name: str, **labels: str) -> Sequence[Sample]:
        """Return the samples of a series that have these labels."""
        found = (it for family in self.families.values() for it in family.samples)
        return [it for it in found if it.name == name and labels.items() <= it.labels.items()]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum over all samples of a series that have these labels."""
        return sum(it.value for it in self.samples(name, **labels))

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Return the sums by the values of one label, without those that are 0."""
        sums: dict[str, float] = {}
        for it in self.samples(name, **labels):
            sums[it.labels[label]] = sums.get(it.labels[label], 0) + it.value
        return {value: total for value, total in sums.items() if total}

    def bucket_of(self, name: str, rank: int, **labels: str) -> tuple[float, float]:
        """Return the bounds of the bucket that has a measurement of a histogram, by its rank from 1, the smallest."""
        counts: dict[float, float] = {}
        for it in self.samples(f"{name}_bucket", **labels):
            bound = float(it.labels["le"])
            counts[bound] = counts.get(bound, 0) + it.value
        lower = 0.0
        for bound in sorted(counts):
            if counts[bound] >= rank:
                return lower, bound
            lower = bound
        raise AssertionError(f"{name} has fewer than {rank} measurements")


def parse(page: str, content_type: str) -> Figures:
    """Return the figures of a page.

    Raises:
        ValueError: it is not what its type says.
    """
    parser = openmetrics if content_type.startswith("application/openmetrics-text") else text
    return Figures({family.name: family for family in parser(page)})


async def scrape(client: httpx2.AsyncClient, accept: str = ACCEPT) -> Figures:
    """Return the figures of a service, as a Prometheus server gets them."""
    response = await client.get("/metrics", headers={"Accept": accept})
    assert response.status_code == 200, response.text
    return parse(response.text, response.headers["content-type"])
