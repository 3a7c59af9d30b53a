"""Faults that the fake provider injects, and what viewers get for each.

The service is real; its deadlines and backoffs are milliseconds.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import anyio
import msgspec
import pytest

from streamsvc.config.provider_settings import (
    FakeSettings,
    FaultName,
    OpenAISettings,
    ProviderSettings,
)
from streamsvc.config.settings import Settings, StreamSettings
from streamsvc.providers.fake import faults
from support.eventstream import Answer, BrowserEvent, view
from support.native import CREATE, STREAM
from support.service import Service
from support.shared import shared_service

DOCS = Path(__file__).parents[2] / "docs"
TEXT = "One two three four."
BEGINNING = "One two three "
OTHER = f"In other words: {TEXT}"

HURRIED = FakeSettings(
    text=TEXT,
    words_per_second=0,
    first_word_seconds=0,
    allow_faults=True,
    fault_seconds=3600,
    first_token_seconds=10,
    idle_seconds=10,
    backoff_seconds=0.001,
    circuit_failures=0,
)


class Seen(msgspec.Struct, frozen=True):
    """What a viewer gets.

    Attributes:
        shown: the text, joined, with the other events in their places.
        status: the status in the one `done`.
        outcome: the outcome in it.
        error: the code of the error in it.
    """

    shown: tuple[str, ...]
    status: str
    outcome: str
    error: str | None = None


def retrying(reason: str) -> str:
    return f"status: retrying, {reason}"


WHOLE = Seen((TEXT,), "completed", "completed")
SEEN: dict[FaultName, Seen] = {
    "none": WHOLE,
    "rate_limit_once": Seen(
        (retrying("provider_rate_limited"), TEXT), "completed", "completed"
    ),
    "rate_limit": Seen(
        (retrying("provider_rate_limited"),) * 2,
        "failed", "upstream_error", "provider_rate_limited",
    ),
    "error_once": Seen((retrying("provider_unavailable"), TEXT), "completed", "completed"),
    "unavailable": Seen(
        (retrying("provider_unavailable"),) * 2, "failed", "upstream_error", "provider_unavailable"
    ),
    "reset": Seen(
        (retrying("provider_unavailable"),) * 2, "failed", "upstream_error", "provider_unavailable"
    ),
    "silent": Seen((), "failed", "first_token_timeout", "provider_timeout"),
    "slow": Seen((), "failed", "first_token_timeout", "provider_timeout"),
    "cut_once": Seen(
        (BEGINNING, retrying("upstream_cut"), "four."), "completed", "completed"
    ),
    "cut": Seen(
        (BEGINNING, *(retrying("upstream_cut"),) * 2), "failed", "upstream_cut", "upstream_cut"
    ),
    "restart": Seen(
        (BEGINNING, retrying("upstream_cut"), "restart: upstream_cut", OTHER),
        "completed", "completed",
    ),
    "stall": Seen((BEGINNING,), "failed", "idle_timeout", "provider_timeout"),
    "garbage": Seen(
        (BEGINNING, *(retrying("upstream_invalid"),) * 2),
        "failed", "upstream_error", "upstream_invalid",
    ),
    "context_length": Seen((), "failed", "upstream_error", "context_length_exceeded"),
    "prompt_blocked": Seen((), "incomplete", "completed", "content_filter"),
    "content_filter": Seen((BEGINNING,), "incomplete", "completed"),
    "auth": Seen((), "failed", "upstream_error", "provider_auth"),
    "model_not_found": Seen((), "failed", "upstream_error", "provider_model_not_found"),
    "flapping": Seen(
        (retrying("provider_unavailable"),) * 2, "failed", "upstream_error", "provider_unavailable"
    ),
    "tool_index_zero": WHOLE,
    "tool_index_missing": WHOLE,
    "tool_id_late": WHOLE,
    "tool_id_missing": WHOLE,
    "tool_whole": WHOLE,
    "tool_object": WHOLE,
    "tool_finish_stop": WHOLE,
    "tool_name_repeated": WHOLE,
}  # fmt: skip
"""What viewers get for each fault of an entry without fallbacks."""

IMPATIENT: dict[FaultName, FakeSettings] = {
    "silent": (soon := msgspec.structs.replace(HURRIED, first_token_seconds=0.1)),
    "slow": soon,
    "stall": msgspec.structs.replace(HURRIED, idle_seconds=0.2),
}
"""For each fault that a deadline ends, an entry whose deadline is short. A busy machine misses the others' short ones."""

BROKEN: dict[str, ProviderSettings] = {
    name: msgspec.structs.replace(IMPATIENT.get(name, HURRIED), fault=name, allow_faults=False)
    for name in SEEN
}
ENTRIES: dict[str, ProviderSettings] = {
    **BROKEN,
    "fake": HURRIED,
    **{f"{name}-soon": entry for name, entry in IMPATIENT.items()},
    "soon": msgspec.structs.replace(HURRIED, fault_seconds=0.05),
    "saved": msgspec.structs.replace(HURRIED, first_token_seconds=0.25, fallbacks=("none",)),
    "model": OpenAISettings(model="m"),
}
"""One entry for each fault, and entries whose requests choose one."""


# One service for all tests: each fault must leave it intact. Its keepalives are so frequent that a
# test fails if it takes one for text.
service = shared_service(Settings(stream=StreamSettings(ping_seconds=0.02), providers=ENTRIES))


@pytest.fixture(autouse=True)
def hurried_rate_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "RETRY_AFTER_SECONDS", 0.01)


def described(event: BrowserEvent, asked: str) -> str:
    """Describe an event between `start` and `done` in a few words."""
    data = event.json
    match event.type:
        case "message":
            return str(data["text"])
        case "status" if data["provider"] == asked:
            return f"status: {data['state']}, {data['reason']}"
        case "status":
            return f"status: {data['state']} to {data['provider']}, {data['reason']}"
        case "restart":
            return f"restart: {data['reason']}"
        case other:
            pytest.fail(f"unknown event: {other}")


async def watch(answer: Answer) -> tuple[Seen, dict[str, Any]]:
    """Read a whole answer; return what a viewer sees, and the data of `done`."""
    assert answer.status == 200
    start, *events, last = await answer.events()
    assert (start.type, last.type) == ("start", "done")
    assert [event.seq for event in (start, *events, last)] == [*range(len(events) + 2)]
    shown: list[str] = []
    was_text = False
    for event in events:
        is_text = event.type == "message"
        if is_text and was_text:
            shown[-1] += described(event, start.json["provider"])
        else:
            shown.append(described(event, start.json["provider"]))
        was_text = is_text
    done = last.json
    error = done["error"] and done["error"]["code"]
    return Seen(tuple(shown), done["status"], done["outcome"], error), done


@asynccontextmanager
async def posting(service: Service, **fields: object) -> AsyncIterator[Answer]:
    body = json.dumps({"prompt": "hello", **fields}).encode()
    async with view(service.port, CREATE, method="POST", headers=STREAM, body=body) as answer:
        yield answer


def test_every_fault_has_an_expectation() -> None:
    assert [*SEEN] == [*get_args(FaultName)]


def test_guide_lists_every_fault() -> None:
    page = (DOCS / "guides" / "faults.md").read_text(encoding="utf-8")
    table = page.partition("| `fault` |")[2].partition("\n\n")[0]
    names = [
        name for row in table.splitlines() for name in re.findall("`(.+?)`", row.split("|")[1])
    ]
    assert len(names) == len({*names})
    assert {*names} == {*SEEN} - {"none", "flapping"}


@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("upstream:bounded")
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("name", SEEN)
async def test_viewers_get_what_is_expected_of_each_fault(
    service: Service, name: FaultName
) -> None:
    """Chosen in the query, in the body or in the settings; a healthy request succeeds after it."""
    entry = f"{name}-soon" if name in IMPATIENT else "fake"
    target = f"/stream-ai?prompt=hello&provider={entry}&fault={name}"
    with anyio.fail_after(10):
        async with view(service.port, target) as answer:
            assert (await watch(answer))[0] == SEEN[name]
        async with posting(service, provider=entry, fault=name) as answer:
            assert (await watch(answer))[0] == SEEN[name]
        async with posting(service, provider=name) as answer:
            assert (await watch(answer))[0] == SEEN[name]
        async with posting(service) as answer:
            assert (await watch(answer))[0] == WHOLE
    assert service.supervisor.running == 0


async def test_filtered_answer_has_its_reason_and_usage(service: Service) -> None:
    for name, usage, code in (
        ("content_filter", {"input_tokens": 1, "output_tokens": 3}, None),
        ("prompt_blocked", None, "content_filter"),
    ):
        async with posting(service, fault=name) as answer:
            _, done = await watch(answer)
        assert done["finish_reason"] == done["provider_finish_reason"] == "content_filter"
        assert done["usage"] == usage
        assert (done["error"] and done["error"]["code"]) == code


async def test_slow_answer_within_the_deadline_is_whole(service: Service) -> None:
    with anyio.fail_after(10):
        async with posting(service, provider="soon", fault="slow") as answer:
            assert (await watch(answer))[0] == WHOLE
    assert b": ka\n" in answer.raw


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize(
    ("name", "reason", "tries"),
    [
        ("unavailable", "provider_unavailable", 3),
        ("context_length", "context_length_exceeded", 1),
        ("auth", "provider_auth", 1),
        ("silent", "provider_timeout", 1),
    ],
)
async def test_fallback_that_allows_no_faults_answers_instead(
    service: Service, name: FaultName, reason: str, tries: int
) -> None:
    with anyio.fail_after(10):
        async with posting(service, provider="saved", fault=name) as answer:
            seen, done = await watch(answer)
    shown = (*(retrying(reason),) * (tries - 1), f"status: switching to none, {reason}", TEXT)
    assert seen == Seen(shown, "completed", "completed")
    assert done["provider"] == "none"


# Who may choose a fault


ACCEPTED = ", ".join(get_args(FaultName))
REFUSALS = [
    ({"fault": "cut", "provider": "none"}, "providers.none.allow_faults"),
    ({"fault": "none", "provider": "none"}, "providers.none.allow_faults"),
    ({"fault": "nonsense", "provider": "none"}, "providers.none.allow_faults"),
    ({"fault": "cut", "provider": "model"}, "kind fake with allow_faults"),
    ({"fault": "nonsense"}, ACCEPTED),
    ({"fault": "CUT"}, ACCEPTED),
    ({"fault": " "}, ACCEPTED),
]


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(("fields", "said"), REFUSALS)
async def test_fault_that_is_not_allowed_is_refused_with_the_reason(
    service: Service, fields: dict[str, str], said: str
) -> None:
    before = len(service.log)
    for answer in (
        await service.client.get("/stream-ai", params={"prompt": "hi", **fields}),
        await service.client.post(CREATE, json={"prompt": "hi", **fields}),
    ):
        assert answer.status_code == 422
        problem = answer.json()
        assert (problem["code"], problem["field"]) == ("invalid_field", "fault")
        assert said in problem["detail"]
    assert len(service.log) == before


async def test_empty_fault_counts_as_missing(service: Service) -> None:
    """As a form with an empty field sends it, to an entry that allows no faults."""
    async with view(service.port, "/stream-ai?prompt=hello&provider=none&fault=") as answer:
        assert (await watch(answer))[0] == WHOLE
    async with posting(service, provider="none", fault="") as answer:
        assert (await watch(answer))[0] == WHOLE


@pytest.mark.promise("input:clear-error")
async def test_key_with_another_fault_is_refused(service: Service) -> None:
    headers = {"Idempotency-Key": "k"}
    ids = set()
    for _ in range(2):
        body = {"prompt": "hi", "fault": "cut"}
        answer = await service.client.post(CREATE, json=body, headers=headers)
        assert answer.status_code == 201
        ids.add(answer.json()["id"])
    assert len(ids) == 1
    answer = await service.client.post(CREATE, json={"prompt": "hi"}, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")
