"""Whether a provider can be reached with its entry's key and model, without spending tokens: for `streamsvc doctor`.

Each kind of provider has a module `reach` beside its adapter, with the questions that its API answers for free.
"""

import importlib
from collections.abc import Mapping
from typing import Protocol, cast

import anyio
import msgspec

from streamsvc.config.provider_settings import UpstreamSection
from streamsvc.provider_errors import ProviderError
from streamsvc.providers.error_mapping import transport_errors_mapped
from streamsvc.providers.http.probe import Probe


class AskForFree(Protocol):
    """The function `ask` of a module `reach`."""

    async def __call__(self, probe: Probe, section: UpstreamSection, key: str) -> str:
        """Find out whether the API takes the key and knows the model.

        Args:
            probe: reaches the API.
            section: of the entry.
            key: of the entry; "" if it needs none.

        Returns:
            What could not be found out, as a sentence; "" if everything was.

        Raises:
            ProviderError: a call would fail, too.
        """
        ...


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one entry.

    Attributes:
        seconds: of each step that was taken; see `Steps`.
        failed_step: the step that did not succeed; "" if the server answered.
        problem: why calls fail; None if they would succeed.
        left_open: what could not be found out, as a sentence.
        clock_seconds: how far the provider's clock is ahead of ours; None if it does not say.
    """

    seconds: Mapping[str, float]
    failed_step: str = ""
    problem: ProviderError | None = None
    left_open: str = ""
    clock_seconds: float | None = None


async def reach(section: UpstreamSection, key: str, *, seconds: float) -> Reached:
    """Reach the provider of an entry.

    Args:
        section: of the entry.
        key: its key; "" if it needs none.
        seconds: how long all questions together may take; the step that is not over by then has failed.
    """
    ask = cast(
        "AskForFree", importlib.import_module(f"streamsvc.providers.{section.kind}.reach").ask
    )
    problem, left_open = None, ""
    try:
        with transport_errors_mapped:
            probe = Probe(section.url, connect_seconds=section.connect_seconds)
    except ProviderError as exc:
        return Reached(seconds={}, failed_step="proxy", problem=exc)
    try:
        with anyio.fail_after(seconds), transport_errors_mapped:
            left_open = await ask(probe, section, key)
    except ProviderError as exc:
        problem = exc
    except TimeoutError:
        return Reached(seconds=probe.steps.seconds, failed_step=probe.steps.latest)
    finally:
        probe.close()
    steps = probe.steps
    return Reached(
        seconds=steps.seconds,
        failed_step="" if steps.latest in steps.seconds else steps.latest,
        problem=problem,
        left_open=left_open,
        clock_seconds=probe.ahead,
    )
