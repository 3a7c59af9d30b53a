"""The last line of a plain text, by request: on every native endpoint, against a process of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.process import Running, serve

TEXT = "one two three four five six seven"
FAKE = {
    "PROVIDERS__FAKE__REPLY": "text",
    "PROVIDERS__FAKE__TEXT": TEXT,
    "PROVIDERS__FAKE__WORDS_PER_SECOND": "0",
    "PROVIDERS__FAKE__ALLOW_FAULTS": "true",
    "PROVIDERS__FAKE__ATTEMPTS": "2",
    "PROVIDERS__FAKE__BACKOFF_SECONDS": "0.01",
}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    async with serve(tmp_path, FAKE) as running:
        yield running


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("none", "completed"),
        ("cut", "failed upstream_cut"),
        ("restart", "failed upstream_cut"),
        ("content_filter", "incomplete content_filter"),
        ("prompt_blocked", "incomplete content_filter"),
        ("context_length", "failed context_length_exceeded"),
    ],
)
async def test_each_end_is_told_in_the_last_line(service: Running, fault: str, line: str) -> None:
    answer = await service.client.get(
        f"/stream-ai?prompt=x&format=plain&end=the-END_1&fault={fault}"
    )
    text, _, last = answer.text.rpartition("\nthe-END_1 ")
    assert last == f"{line}\n"
    assert TEXT.startswith(text)
    assert (text == TEXT) == (fault == "none")


async def test_every_endpoint_that_streams_has_the_last_line(service: Running) -> None:
    whole = f"{TEXT}\nmine completed\n"
    plain = {"Accept": "text/plain"}
    client = service.client
    got = await client.get("/stream-ai?prompt=x&end=mine", headers=plain)
    posted = await client.post("/v1/generations?end=mine", json={"prompt": "x"}, headers=plain)
    events = f"/v1/generations/{posted.headers['x-generation-id']}/events?format=plain&end=mine"
    followed = await client.get(events)
    assert [answer.text for answer in (got, posted, followed)] == [whole, whole, whole]


@pytest.mark.promise("end:exactly-one")
async def test_a_stop_is_told_in_the_last_line(tmp_path: Path) -> None:
    async with serve(tmp_path, {**FAKE, "PROVIDERS__FAKE__WORDS_PER_SECOND": "0.001"}) as service:
        address = "/stream-ai?prompt=x&format=plain&end=mine"
        async with service.client.stream("GET", address) as answer:
            generation = answer.headers["x-generation-id"]
            await service.client.post(f"/v1/generations/{generation}/stop")
            text = (await answer.aread()).decode()
        assert text.splitlines()[-1] == "mine stopped client_stop"


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("format=plain&end=", "The 'end' is 1 to 64 letters, digits, '-' or '_'."),
        ("format=plain&end=a%0Ab", "The 'end' is 1 to 64 letters, digits, '-' or '_'."),
        (f"format=plain&end={'a' * 65}", "The 'end' is 1 to 64 letters, digits, '-' or '_'."),
        ("end=mine", "The 'end' is for plain text: add format=plain."),
        ("format=text&end=mine", "The 'end' is for plain text: add format=plain."),
    ],
)
async def test_what_cannot_be_a_last_line_is_refused(
    service: Running, query: str, sentence: str
) -> None:
    answer = await service.client.get(f"/stream-ai?prompt=x&{query}")
    assert answer.status_code == 422
    assert (answer.json()["detail"], answer.json()["field"]) == (sentence, "end")
