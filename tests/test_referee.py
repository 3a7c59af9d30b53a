"""The rows of `support/referee`, asked over OpenAI's API and over ours, against a real process.

All rows run at once. Each row, set of deadlines and way of asking has a separate entry, so no row affects the circuit
or the connections of another. The prompt is the name of the entry.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import anyio
import httpx2
import pytest

from streamsvc.config.provider_settings import OpenAISettings
from support.process import Running, serve, write_config
from support.referee import (
    DEADLINES,
    OUTAGE_SECONDS,
    ROWS,
    WELL,
    WORDS,
    Answerer,
    Column,
    Row,
    fallback_script,
    scaled,
)
from support.upstreams import USAGE, Call, Script, upstream

Door = Literal["chat", "native"]
DOORS: tuple[Door, ...] = ("chat", "native")
FALLBACK = "fallback"

SLACK_SECONDS, SLACK_ANSWERS = 2.0, 4
"""What a busy machine may add to a scaled time: these seconds, and this multiple of a healthy answer's time."""

pytestmark = [pytest.mark.timeout(240), pytest.mark.long, pytest.mark.unmeasured]

STAGGER_SECONDS = 0.03
"""How much later each row begins than the previous one, because its first request opens an entry."""

REQUESTS, INTERVAL_SECONDS, RECOVERED_SECONDS = 23, 4.0, 30.0
"""The pace of S15's requests, and how soon after the outage the provider must answer again."""


@dataclass(frozen=True)
class Seen:
    """The answer that a caller got.

    Attributes:
        status: the HTTP status.
        text: the whole text.
        is_complete: whether the answer claims to be complete.
        model: the model that the answer names.
        has_usage: whether it has token counts of the provider.
        error: the code of the failure, or the reason why the answer is incomplete.
        seconds: the time that it took.
    """

    status: int
    text: str = ""
    is_complete: bool = False
    model: str = ""
    has_usage: bool = False
    error: str = ""
    seconds: float = 0.0


@dataclass
class Case:
    """One row with one set of deadlines and one way of asking."""

    row: Row
    column: Column
    door: Door
    calls: list[Call] = field(default_factory=list)
    fallback_calls: list[Call] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    slack_seconds: float = SLACK_SECONDS

    @property
    def most_seconds(self) -> float:
        return scaled(self.row.most_seconds) + self.slack_seconds

    @property
    def entry(self) -> str:
        return f"{self.row.id.lower()}_{self.column}_{self.door}"

    def script(self, call: Call) -> Script:
        self.calls.append(call)
        return self.row.script(len(self.calls), call.at - self.calls[0].at)

    def script_of_fallback(self, call: Call) -> Script:
        self.fallback_calls.append(call)
        return fallback_script(call)


Cases = Mapping[tuple[str, Column, Door], Case]


def _cases() -> Cases:
    return {
        (row.id, column, door): Case(row, column, door)
        for row in ROWS
        for column in DEADLINES
        for door in DOORS
    }


def _entry(case: Case, primary: str) -> Mapping[str, Any]:
    first_token_seconds, idle_seconds = DEADLINES[case.column]
    return {
        "kind": "openai",
        "api_key_env": "",
        "model": case.entry,
        "base_url": f"{primary}/v1",
        "fallbacks": [FALLBACK],
        "first_token_seconds": scaled(first_token_seconds),
        "idle_seconds": scaled(idle_seconds),
        "connect_seconds": 5.0,
        "backoff_seconds": scaled(0.5),
        "max_backoff_seconds": scaled(8),
        "circuit_seconds": scaled(15),
    }


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Run all rows in one event loop."""
    return "asyncio"


@pytest.fixture(scope="module")
async def played(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cases]:
    """Play all rows at once."""
    cases = _cases()
    by_model = {case.entry: case for case in cases.values()}
    seconds: list[float] = []
    async with upstream() as primary, upstream() as fallback:
        primary.choose = lambda call: by_model[call.model].script(call)
        fallback.choose = lambda call: (
            WELL if _prompt(call) == FALLBACK else by_model[_prompt(call)].script_of_fallback(call)
        )
        entries: dict[str, Mapping[str, Any]] = {
            f"providers.{case.entry}": _entry(case, primary.url) for case in cases.values()
        }
        entries[f"providers.{FALLBACK}"] = {
            "kind": "gemini",
            "api_key_env": "",
            "model": "gemini-test",
            "base_url": fallback.url,
        }
        directory = tmp_path_factory.mktemp("referee")
        write_config(directory, entries)
        settings = {"PROVIDER": FALLBACK, "SERVER__LOG_LEVEL": "error"}
        async with serve(directory, settings) as service:
            async with _client(service) as client, anyio.create_task_group() as healthy:
                healthy.start_soon(_ask_healthy, client, seconds)
                async with anyio.create_task_group() as tasks:
                    for number, case in enumerate(cases.values()):
                        tasks.start_soon(_play, client, case, number * STAGGER_SECONDS)
                healthy.cancel_scope.cancel()
            for case in cases.values():
                case.slack_seconds += SLACK_ANSWERS * max(seconds)
            service.assert_quiet()
            assert (await service.terminate()) == 0
        yield cases


def _prompt(call: Call) -> str:
    """Return the prompt of a request to Gemini's API, which is the name of the case."""
    return str(call.body["contents"][0]["parts"][0]["text"])


@asynccontextmanager
async def _client(service: Running) -> AsyncIterator[httpx2.AsyncClient]:
    url = f"http://127.0.0.1:{service.port}"
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        yield client


async def _play(client: httpx2.AsyncClient, case: Case, after_seconds: float) -> None:
    ask = {"chat": _ask_chat, "native": _ask_native}[case.door]
    requests = REQUESTS if case.row.id == "S15" else 1
    began = anyio.current_time() + after_seconds
    for number in range(requests):
        await anyio.sleep_until(began + number * scaled(INTERVAL_SECONDS))
        case.seen.append(await ask(client, case.entry))


async def _ask_healthy(client: httpx2.AsyncClient, seconds: list[float]) -> None:
    """Ask a healthy entry again and again, and record how long the answers take."""
    while True:
        seen = await _ask_native(client, FALLBACK)
        assert _answerer(seen) == "fallback"
        seconds.append(seen.seconds)


def _payloads(body: str) -> Sequence[str]:
    return [line[6:] for line in body.splitlines() if line.startswith("data: ")]


async def _ask_chat(client: httpx2.AsyncClient, entry: str) -> Seen:
    began = anyio.current_time()
    answer = await client.post(
        "/v1/chat/completions",
        json={
            "model": entry,
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": entry}],
        },
    )
    seconds = anyio.current_time() - began
    if answer.status_code != 200:
        return Seen(answer.status_code, error=answer.json()["error"]["code"], seconds=seconds)
    *payloads, last = _payloads(answer.text)
    chunks = [json.loads(payload) for payload in payloads]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    errors = [chunk["error"]["code"] for chunk in chunks if "error" in chunk]
    reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    usage = next((chunk["usage"] for chunk in chunks if chunk.get("usage")), None)
    return Seen(
        200,
        text="".join(choice["delta"].get("content") or "" for choice in choices),
        is_complete=last == "[DONE]" and reasons == ["stop"] and not errors,
        model=chunks[-1].get("model", ""),
        has_usage=usage is not None and usage["completion_tokens"] == USAGE.output_tokens,
        error="".join(errors),
        seconds=seconds,
    )


async def _ask_native(client: httpx2.AsyncClient, entry: str) -> Seen:
    began = anyio.current_time()
    answer = await client.post(
        "/v1/generations",
        json={"provider": entry, "prompt": entry},
        headers={"Accept": "text/event-stream"},
    )
    events = [json.loads(payload) for payload in _payloads(answer.text)]
    done, text = events[-1], ""
    for event in events:
        text = "" if event["type"] == "restart" else text + event.get("text", "")
    return Seen(
        answer.status_code,
        text=text,
        is_complete=done["status"] == "completed",
        model=done["model"],
        has_usage=(done["usage"] or {}).get("output_tokens") == USAGE.output_tokens,
        error=done["error"]["code"] if done["error"] else done["finish_reason"],
        seconds=anyio.current_time() - began,
    )


def _answerer(seen: Seen) -> Answerer:
    """Return which provider gave the complete answer, according to its model."""
    assert seen.text == "".join(WORDS)
    assert seen.is_complete
    assert seen.has_usage
    return "fallback" if seen.model == "gemini-test-1" else "primary"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("column", DEADLINES)
@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.id not in {"S13", "S15"}], ids=lambda row: row.id
)
@pytest.mark.promise("upstream:bounded")
@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("end:exactly-one")
async def test_a_fault_is_answered_in_time(
    played: Cases, row: Row, column: Column, door: Door
) -> None:
    case = played[row.id, column, door]
    (seen,) = case.seen
    assert _answerer(seen) == row.answerer_with(column)
    assert seen.seconds <= case.most_seconds
    _check_calls(case)


def _check_calls(case: Case) -> None:
    row = case.row
    least, most = row.calls
    assert least <= len(case.calls) <= most
    gaps = [later.at - earlier.at for earlier, later in pairwise(case.calls)]
    # The upstream records a call once it has read it, which is a little late on a busy machine.
    assert all(gap >= 0.8 * scaled(row.gap_seconds) for gap in gaps[:1])


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("column", DEADLINES)
@pytest.mark.promise("upstream:rescue")
async def test_a_refusal_by_a_filter_reaches_the_caller(
    played: Cases, column: Column, door: Door
) -> None:
    """S13: OpenAI's clients get the 400, ours get the reason, and no other provider is called."""
    case = played["S13", column, door]
    (seen,) = case.seen
    assert (seen.status, seen.error) == (400 if door == "chat" else 200, "content_filter")
    assert not seen.is_complete
    assert case.fallback_calls == []
    _check_calls(case)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("column", DEADLINES)
@pytest.mark.promise("upstream:rescue")
async def test_a_recovered_provider_answers_again(
    played: Cases, column: Column, door: Door
) -> None:
    """S15: every request is answered; the circuit opens, and closes soon after the outage."""
    case = played["S15", column, door]
    assert len(case.seen) == REQUESTS
    for seen in case.seen:
        assert seen.text == "".join(WORDS)
        assert seen.is_complete
        assert seen.seconds <= case.most_seconds
    first = case.calls[0].at
    well = [call.at - first for call in case.calls if call.at - first >= scaled(OUTAGE_SECONDS)]
    assert well
    assert well[0] <= scaled(OUTAGE_SECONDS + RECOVERED_SECONDS) + case.slack_seconds
    _check_calls(case)


def test_the_columns_match_the_settings_in_their_headings() -> None:
    entry = OpenAISettings(model="m", fallbacks=("other",))
    assert DEADLINES["default"] == (entry.first_token_bound, entry.idle_bound)
