"""The sentences that `docs/reference/errors.md` and `docs/operate/troubleshoot.md` quote, as a running service says them."""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

import pytest

from support.process import Running
from support.shared import shared_process
from support.tables import DOCS

PAGES = "".join(
    (DOCS / it).read_text() for it in ("reference/errors.md", "operate/troubleshoot.md")
)
QUOTES = set(re.findall(r"^> (.+)$", PAGES, re.MULTILINE))

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CHAT = "/v1/chat/completions"
CREATE = "/v1/generations"
ASK = "/stream-ai?prompt=hi"
ONE = f"{CREATE}/gen_{'a' * 32}"

process = shared_process({"server": {"port": 0}})


class Ask(NamedTuple):
    """A request that is refused; with a body it is a POST."""

    target: str
    body: str = ""
    headers: Mapping[str, str] = {}


REFUSED = [
    Ask("/stream-ai"),
    Ask(f"{ASK}&provider=opnai"),
    Ask(f"{ASK}&provider=openai"),
    Ask(ASK, headers={"Origin": "http://127.0.0.1:5173"}),
    Ask(ASK, headers={"Host": "app.example.com"}),
    Ask(ASK, headers={"Sec-Purpose": "prefetch"}),
    Ask(f"/stream-ai?prompt={'x' * 65_518}"),
    Ask("/stream-a"),
    Ask("/metrics", headers={"Via": "1.1 proxy"}),
    Ask("/v1/stream?ticket=tkt_none&format=plain"),
    Ask(ONE),
    Ask(CREATE),
    Ask(CREATE, "{'prompt': 'hello'}"),
    Ask(CREATE, "prompt=hello", FORM),
    Ask(CREATE, '{"extra_body": ' + '{"a":' * 5000 + "1" + "}" * 5001),
    Ask(CREATE, "{}"),
    Ask(CREATE, '{"promt": "hello"}'),
    Ask(CREATE, '{"prompt": "hello", "stream": true}'),
    Ask(CREATE, '{"prompt": "hello", "model": "gpt-5.4"}'),
    Ask(CREATE, '{"prompt": "hello"}', {"Last-Event-ID": "none"}),
    Ask(CREATE, '{"prompt": "hello"}', {"Content-Encoding": "gzip"}),
    Ask(CREATE, json.dumps({"prompt": "x" * 400_001})),
    Ask("/chat/completions", "{}"),
    Ask(CHAT, '{"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}'),
]


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("asked", REFUSED, ids=range(len(REFUSED)))
async def test_the_service_says_what_the_pages_quote(process: Running, asked: Ask) -> None:
    headers = {"Content-Type": "", **asked.headers}
    answer = await process.client.request(
        "POST" if asked.body else "GET", asked.target, content=asked.body.encode(), headers=headers
    )
    assert answer.status_code >= 400
    said = answer.json()
    assert (said.get("detail") or said["error"]["message"]) in QUOTES


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CREATE, {"prompt": ""}),
        (CHAT, {"model": "fake", "messages": [{"role": "user", "content": ""}]}),
    ],
)
async def test_examples_of_refusals_are_those_of_the_service(
    process: Running, path: str, body: object
) -> None:
    """Apart from the title, which Python names and has changed."""
    examples = [
        json.loads(it) for it in re.findall(r"^```json\n(.*?)^```", PAGES, re.MULTILINE | re.DOTALL)
    ]
    said = (await process.client.post(path, json=body)).json()
    assert {**said, "title": ""} in [{**it, "title": ""} for it in examples]
