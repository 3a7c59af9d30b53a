"""The optional last line of plain text, at every native endpoint of a service process."""

import pytest

from support.process import Running
from support.shared import quiet_service, shared_process

TEXT = "one two three four five six seven"
FAKE = {
    "kind": "fake",
    "text": TEXT,
    "words_per_second": 0,
    "allow_faults": True,
    "attempts": 2,
    "backoff_seconds": 0.01,
}

process = shared_process(
    {"providers.fake": FAKE, "providers.slow": {**FAKE, "words_per_second": 0.001}}
)
service = quiet_service(r"call\.failed ")


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
async def test_last_line_says_how_each_answer_ends(service: Running, fault: str, line: str) -> None:
    answer = await service.client.get(
        f"/stream-ai?prompt=x&format=plain&end=the-END_1&fault={fault}"
    )
    text, _, last = answer.text.rpartition("\nthe-END_1 ")
    assert last == f"{line}\n"
    assert TEXT.startswith(text)
    assert (text == TEXT) == (fault == "none")


async def test_every_streaming_endpoint_has_the_last_line(service: Running) -> None:
    whole = f"{TEXT}\nmine completed\n"
    plain = {"Accept": "text/plain"}
    client = service.client
    got = await client.get("/stream-ai?prompt=x&end=mine", headers=plain)
    posted = await client.post("/v1/generations?end=mine", json={"prompt": "x"}, headers=plain)
    events = f"/v1/generations/{posted.headers['x-generation-id']}/events?format=plain&end=mine"
    followed = await client.get(events)
    assert [answer.text for answer in (got, posted, followed)] == [whole, whole, whole]


@pytest.mark.promise("end:exactly-one")
async def test_last_line_reports_a_stop(service: Running) -> None:
    address = "/stream-ai?prompt=x&provider=slow&format=plain&end=mine"
    async with service.client.stream("GET", address) as answer:
        generation = answer.headers["x-generation-id"]
        await service.client.post(f"/v1/generations/{generation}/stop")
        text = (await answer.aread()).decode()
    assert text.splitlines()[-1] == "mine stopped client_stop"


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("format=plain&end=", "The 'end' parameter must be 1 to 64 letters, digits, '-' or '_'."),
        (
            "format=plain&end=a%0Ab",
            "The 'end' parameter must be 1 to 64 letters, digits, '-' or '_'.",
        ),
        (
            f"format=plain&end={'a' * 65}",
            "The 'end' parameter must be 1 to 64 letters, digits, '-' or '_'.",
        ),
        ("end=mine", "The 'end' parameter needs plain text; add format=plain."),
        ("format=text&end=mine", "The 'end' parameter needs plain text; add format=plain."),
    ],
)
async def test_invalid_end_is_refused(service: Running, query: str, sentence: str) -> None:
    answer = await service.client.get(f"/stream-ai?prompt=x&{query}")
    assert answer.status_code == 422
    assert (answer.json()["detail"], answer.json()["field"]) == (sentence, "end")
