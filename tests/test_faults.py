"""Every fault of an upstream, on real sockets, observed from both sides; the rows are in `support/faults`.

A viewer connects to the service on uvicorn, which calls a primary and a fallback with different APIs. Multiples of the
configured deadlines bound all waits. One service serves all rows, so a row that leaves damage behind fails another.
"""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from streamsvc.config.provider_settings import ProviderSettings
from streamsvc.config.settings import GenerationSettings, Settings, StreamSettings
from streamsvc.providers import answer
from support.eventstream import BrowserEvent
from support.faults import FAULTS
from support.faults.row import (
    DEADLINE_SECONDS,
    FALLBACK,
    KEY,
    OTHER,
    PRIMARY,
    PROMPT,
    WELL,
    Event,
    Fault,
)
from support.pools import close_kept, pools
from support.service import serving
from support.stage import (
    ENTRY,
    OTHER_KIND,
    WIRES,
    Seen,
    Stage,
    address,
    ask,
    no_more_tasks_than,
    tasks_by_kind,
)
from support.upstreams import Call, upstream

LATE_SECONDS = 4.0
"""How much longer than configured something may take on a busy machine; the other deadlines are longer still."""

HEALTHY_TRIES = 20
"""How often an entry with a short deadline may be asked until a busy machine keeps that deadline."""

Stages = Mapping[bool, Stage]
"""With rescue, and without."""

both = pytest.mark.parametrize("kind", WIRES)


@pytest.fixture(scope="module")
async def stages() -> AsyncIterator[Stages]:
    async with _stage(rescue=True) as usual, _stage(rescue=False) as without:
        yield {True: usual, False: without}


@asynccontextmanager
async def _stage(*, rescue: bool) -> AsyncIterator[Stage]:
    """Run a service with an entry for every set of settings in the rows."""
    async with upstream(*WELL) as primary, upstream(*OTHER) as fallback:
        with address(backlog=None) as closed, address(backlog=0) as full:
            urls = {"open": primary.url, "closed": closed, "full": full}
            entries: dict[str, ProviderSettings] = {}
            for kind, wire in WIRES.items():
                entries[_fallback_of(OTHER_KIND[kind])] = wire.entry(fallback.url, **ENTRY)
                for fault in FAULTS:
                    fields = _fields(kind, fault)
                    entries[_entry_of(kind, fault)] = wire.entry(urls[fault.port], **fields)
            settings = Settings(
                provider=next(iter(entries)),
                providers=entries,
                generations=GenerationSettings(rescue=rescue),
                stream=StreamSettings(ping_seconds=60),
            )
            async with serving(settings, {"KEY": KEY}) as service:
                yield Stage(service, primary, fallback)


def _fallback_of(kind: str) -> str:
    return f"{kind}-fallback"


def _entry_of(kind: str, fault: Fault) -> str:
    """Return the entry of a row; rows with the same settings share an entry and its connections."""
    parts = (kind, fault.port, fault.deadline, *fault.entry, fault.fallback is None and "alone")
    return "-".join(part for part in parts if part)


def _fields(kind: str, fault: Fault) -> Mapping[str, Any]:
    fields = {**ENTRY, "api_key_env": "KEY", **fault.entry}
    if fault.deadline:
        fields[f"{fault.deadline}_seconds"] = DEADLINE_SECONDS
    if fault.fallback is not None:
        fields["fallbacks"] = (_fallback_of(kind),)
    return fields


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        pytest.param(kind, fault, id=f"{fault.name}-{kind}")
        for fault in FAULTS
        for kind in fault.kinds
    ],
)
@pytest.mark.filterwarnings("ignore:.* is not a valid FinishReason")  # google-genai says so
@pytest.mark.promise("upstream:bounded")
@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("end:exactly-one")
@pytest.mark.promise("secret:kept")
async def test_each_fault_has_its_documented_effect(
    stages: Stages,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    fault: Fault,
) -> None:
    monkeypatch.setattr(answer, "END_WAIT_SECONDS", DEADLINE_SECONDS)
    caplog.set_level(logging.DEBUG)
    stage, entry, fallback = stages[fault.rescue], _entry_of(kind, fault), _fallback_of(kind)
    names = {entry: PRIMARY, fallback: FALLBACK}
    well = (entry, fallback) if fault.port == "open" else (fallback,)
    await _are_well(stage, well)
    if not fault.is_kept:
        close_kept(stage.service)
        await stage.rest()
    tasks = tasks_by_kind()
    before = len(stage.primary.calls), len(stage.fallback.calls)
    stage.primary.script(*(fault.primary or ((),)))
    stage.fallback.script(fault.fallback or ())
    caplog.clear()

    seen = await ask(stage.service, entry)
    await stage.rest()

    _check_viewer(stage, fault, seen, names)
    calls = stage.primary.calls[before[0] :], stage.fallback.calls[before[1] :]
    models = _models(stage)
    _check_upstreams(fault, seen, calls, (models[entry], models[fallback]))
    _check_log(fault, seen, entry, caplog)
    await _are_well(stage, well)
    assert max(map(sum, pools(stage.service).values())) == 1
    await no_more_tasks_than(tasks)


def _between_start_and_done(
    events: Sequence[BrowserEvent], names: Mapping[str, str]
) -> list[Event]:
    """Return the events between `start` and `done` in the form of the rows."""
    found: list[Event] = []
    for said in (event.json for event in events[1:-1]):
        match said:
            case {"type": "text", "text": words}:
                if found and found[-1][0] == "text":
                    words = found.pop()[1] + words
                found.append(("text", words))
            case {"type": "status", "state": state, "provider": provider, "reason": reason}:
                found.append((state, names[provider], reason))
            case {"type": "restart", "provider": provider, "reason": reason}:
                found.append(("restart", names[provider], reason))
            case _:
                found.append((said["type"],))
    return found


def _check_viewer(stage: Stage, fault: Fault, seen: Seen, names: Mapping[str, str]) -> None:
    models = _models(stage)
    assert _between_start_and_done(seen.events, names) == list(fault.events)
    for event in seen.events:
        if event.json["type"] == "restart":
            assert event.json["model"] == models[event.json["provider"]]
    done, end = seen.done, fault.end
    assert done["status"] == end.status
    assert done["finish_reason"] == end.finish_reason
    assert done["outcome"] == end.outcome
    assert names[done["provider"]] == end.provider
    assert done["model"].startswith(models[done["provider"]])
    assert (done["error"] and done["error"]["code"]) == end.error
    if end.usage == "estimated":
        assert done["usage"]["estimated"]
        has_text = any(kind == "text" for kind, *_ in fault.events)
        assert (done["usage"]["output_tokens"] > 0) == has_text
    else:
        usage = end.usage
        expected = usage and {name: getattr(usage, name) for name in usage.__struct_fields__[:3]}
        assert done["usage"] == expected
    assert KEY.encode() not in seen.raw


def _models(stage: Stage) -> Mapping[str, str]:
    return {entry.name: entry.section.model for entry in stage.service.supervisor.entries}


def _check_upstreams(
    fault: Fault,
    seen: Seen,
    calls: tuple[Sequence[Call], Sequence[Call]],
    models: tuple[str, str],
) -> None:
    assert tuple(map(len, calls)) == fault.calls
    for model, of_one in zip(models, calls, strict=True):
        assert {call.model for call in of_one} <= {model}
        assert all(PROMPT in str(call.body) for call in of_one)
    asked_at = [call.at for call in calls[0]]
    gaps = [later - earlier for earlier, later in pairwise(asked_at)]
    for gap, least in zip(gaps, fault.gaps, strict=True):
        assert least <= gap <= least * 2 + LATE_SECONDS
    if fault.deadline:
        _check_deadline(fault, seen, calls[0])


def _check_deadline(fault: Fault, seen: Seen, calls: Sequence[Call]) -> None:
    """Check that the wait is the deadline and not much more, and that the call is closed by then."""
    since = seen.asked_at
    if fault.deadline == "idle":
        assert calls[-1].token_at is not None
        since = calls[-1].token_at
    reported = (event for event in seen.events if event.json["type"] in {"status", "done"})
    waited = next(reported).at - since
    assert fault.silent_seconds <= waited <= DEADLINE_SECONDS + LATE_SECONDS
    for call in calls if fault.silent_seconds == DEADLINE_SECONDS else ():
        assert call.closed_at is not None
        assert DEADLINE_SECONDS <= call.closed_at - since <= DEADLINE_SECONDS + LATE_SECONDS


def _check_log(fault: Fault, seen: Seen, entry: str, caplog: pytest.LogCaptureFixture) -> None:
    lines = [record.getMessage() for record in caplog.records]
    ends = [line for line in lines if line.startswith("generation.finished")]
    failures = [line for line in lines if line.startswith("call.failed")]
    (end,) = ends
    seen_calls = sum(fault.calls) - fault.unseen
    asked = seen_calls if fault.port == "open" else len(failures) + fault.calls[1]
    assert f"id={seen.generation}" in end
    assert f"provider={seen.done['provider']} model={seen.done['model']}" in end
    assert f"outcome={fault.end.outcome}" in end
    assert f"calls={asked}" in end
    setting = f"setting=providers.{entry}.{fault.setting}"
    assert any(line.endswith(setting) for line in failures) == bool(fault.setting)
    assert KEY not in caplog.text
    assert PROMPT not in caplog.text


async def _are_well(stage: Stage, entries: Sequence[str]) -> None:
    """Check that the requested provider answers a healthy request at the first call.

    A busy machine may miss the short deadline of an entry, but not every time.
    """
    stage.primary.script(WELL)
    stage.fallback.script(OTHER)
    sections = {entry.name: entry.section for entry in stage.service.supervisor.entries}
    for entry in entries:
        seen = await ask(stage.service, entry)
        is_short = DEADLINE_SECONDS in {
            sections[entry].first_token_bound,
            sections[entry].idle_bound,
        }
        for _ in range(HEALTHY_TRIES if is_short else 0):
            if not _is_late(seen):
                break
            await stage.rest()
            seen = await ask(stage.service, entry)
        assert (seen.done["status"], seen.done["provider"]) == ("completed", entry)
        assert "status" not in [event.json["type"] for event in seen.events]
    await stage.rest()


def _is_late(seen: Seen) -> bool:
    """Return whether a deadline passed."""
    reasons = [event.json["reason"] for event in seen.events if event.json["type"] == "status"]
    return "provider_timeout" in reasons or seen.done["outcome"].endswith("_timeout")
