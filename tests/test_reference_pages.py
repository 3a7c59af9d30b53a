"""The pages of the reference have everything that the code has."""

import json
import re
from typing import get_args

import msgspec
import pytest

from streamsvc.config.paths import dotted
from streamsvc.dialects.json_body import Body, decode
from streamsvc.dialects.openai.errors import CODES
from streamsvc.dialects.request import RequestFields as Fields
from streamsvc.dialects.sse import EVENT_NAMES, Gone
from streamsvc.errors import RequestError, StreamsvcError
from streamsvc.events import Event
from support import comparison
from support.error_classes import classes
from support.reference import errors, events, settings
from support.reference.sayings import is_said
from support.settings import PLACES, mistake, read
from support.tables import DOCS


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


# ---- Events


def test_every_event_has_a_section_with_an_example() -> None:
    assert {type(event) for _, event in events.EXAMPLES} == set(get_args(Event)) == set(EVENT_NAMES)


def test_data_of_the_page_of_events_is_what_the_service_sends() -> None:
    """Also where the page is written by hand."""
    lines = re.findall(r"^data: (\{.*\})$", text_of("reference/events.md"), re.MULTILINE)
    assert len(lines) > len(events.EXAMPLES)
    for line in lines:
        known = Gone if "not_resumable" in line else Event
        event = msgspec.json.decode(line, type=known)
        assert msgspec.json.encode(event).decode() == line


def test_names_of_the_page_of_events_belong_to_their_type() -> None:
    page = text_of("reference/events.md")
    names = {
        str(kind.__struct_config__.tag): line.decode().removeprefix("event: ").strip()
        for kind, line in EVENT_NAMES.items()
    }
    blocks = re.findall(r"^id: \S+\n(?:event: (\w+)\n)?data: (\{.*\})$", page, re.MULTILINE)
    assert blocks
    for name, data in blocks:
        assert names[json.loads(data)["type"]] == name


# ---- Errors

SECTION = re.compile(r"^### `(\w+)`\n(.*?)(?=^##)", re.MULTILINE | re.DOTALL)


BAD_BODIES = (
    b"{'prompt': 'hello'}",
    b"prompt=hello",
    b'{"promt": "hello"}',
    b'{"prompt": "hello", "model": "gpt-5.4"}',
    b'{"prompt": "hello", "stream": true}',
)
"""Bodies whose refusals are put together from pieces that no pattern has as a whole."""


def refusal_of_body(raw: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        decode(Body(raw, "application/x-www-form-urlencoded" if raw[:1] == b"p" else ""), Fields)
    return caught.value.message


def quotes(page: str) -> list[str]:
    """Return the sentences of the service that a page quotes."""
    return re.findall(r"^> (.+)$", text_of(page), re.MULTILINE)


def test_every_code_has_a_section_with_cause_and_remedy() -> None:
    sections = dict(SECTION.findall(text_of("reference/errors.md") + "\n##"))
    assert sorted(sections) == sorted(errors.codes())
    for code, text in sections.items():
        assert "* Cause: " in text, code
        assert "* Do: " in text, code
        assert "> " in text or code == "config_error", code


def test_every_class_of_the_error_tree_has_an_explained_code() -> None:
    """`RequestError` itself is never raised, and no client sees the errors of the log's port."""
    assert {kind.code for kind in classes(StreamsvcError)} - {RequestError.code} <= set(
        errors.codes()
    )


def test_every_documented_status_of_an_error_is_in_the_table() -> None:
    """Also each that the OpenAPI document has; the AI SDK's endpoints have no codes."""
    page = text_of("reference/errors.md")
    document = text_of("reference/openapi.json")
    documented = set(re.findall(r"\* `(\w+)`: ", document))
    renamed = set(CODES.values())
    assert documented - renamed - set(re.findall(r"^### `(\w+)`$", page, re.MULTILINE)) == set()


@pytest.mark.parametrize("page", ["reference/errors.md", "operate/troubleshoot.md"])
def test_quoted_sentences_are_those_of_the_service(page: str) -> None:
    assert len(quotes(page)) > 10
    own = {refusal_of_body(raw) for raw in BAD_BODIES}
    assert [it for it in quotes(page) if it not in own and not is_said(it)] == []


def test_a_sentence_that_the_service_does_not_say_is_noticed() -> None:
    assert not is_said("The service is at its configured limits (limits.max_viewers).")


# ---- Settings


def test_every_setting_has_a_section_with_an_explanation() -> None:
    page = text_of("reference/settings.md")
    places = {
        (place[0], settings.NAME, place[-1]) if place[0] == "providers" else place
        for place in PLACES
    }
    assert set(settings.paths()) == set(map(dotted, places))
    for path in settings.paths():
        section = page.partition(f"# `{path}`\n\n")[2].partition("\n#")[0]
        facts, _, text = section.partition("\n\n")
        assert re.search(r"`STREAMSVC_\w+", facts), path
        assert re.search(r" · (reloads|restart|full restart)$", facts), path
        assert len(text.split()) > 3 or text.startswith("See ["), path


def test_examples_of_settings_are_accepted() -> None:
    blocks = re.findall(
        r"^```toml\n(.*?)^```", text_of("reference/settings.md"), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 2
    port, local = (read(block, {"OPENAI_API_KEY": "k"}) for block in blocks)
    assert (port.provider, port.server.port) == ("openai", 9000)
    assert local.providers["local"].kind == "openai"


def test_settings_from_variables_are_those_of_the_example() -> None:
    command = re.search(
        r"^(STREAMSVC_PROVIDER=.*) streamsvc", text_of("reference/settings.md"), re.MULTILINE
    )
    assert command
    environ = dict(pair.split("=") for pair in command[1].split())
    loaded = read("", {**environ, "OPENAI_API_KEY": "k"})
    assert (loaded.provider, loaded.server.port) == ("openai", 9000)


@pytest.mark.parametrize(
    "environ",
    [
        {"STREAMSVC_SERVER__HOST": "0.0.0.0"},
        {"STREAMSVC_SERVER_PORT": "1"},
        {"STREAMSVC_SERVER__WORKERS": "4"},
        {"STREAMSVC_PROVIDER": "openai"},
    ],
    ids=str,
)
def test_quoted_mistakes_in_the_settings_are_those_of_the_service(environ: dict[str, str]) -> None:
    assert mistake(None, environ) in quotes("operate/troubleshoot.md")


# ---- The comparison


def test_every_claim_about_another_project_has_a_source() -> None:
    page = text_of("comparison.md").partition("## Streaming")[2].partition("## Mercure")[0]
    rows = [line.strip("|").split("|") for line in page.splitlines() if re.match(r"\| \w", line)]
    claims = [
        cell.strip() for row in rows for cell in row[2:] if not row[0].startswith(" question")
    ]
    assert len(claims) > 80
    assert [it for it in claims if it != "?" and not re.search(r"\([mdk]\)", it)] == []


def test_measured_table_of_the_comparison_is_that_of_the_latest_run() -> None:
    """It has this service, and a figure in each of its cells."""
    rows = [line for line in comparison.measured().splitlines() if line.startswith("| streamsvc")]
    assert len(rows) == 2
    assert not [row for row in rows if comparison.NONE in row]


def test_results_are_read_by_their_headings() -> None:
    text = (
        "<!-- results -->\n**paced**\n\n| case | target | x |\n| --- | --- | --- |\n"
        "| a | b | 1 |\n\n**held**\n\n| case | target | y |\n| --- | --- | --- |\n| a | b | 2 |\n"
        "<!-- /results -->\n| c | d | 3 |\n"
    )
    assert comparison.results(text)[("held", "a", "b", "y")] == "2"
    assert comparison.results(text)[("paced", "a", "b", "x")] == "1"
    assert not [key for key in comparison.results(text) if "c" in key]


# ---- The glossary


def test_terms_are_in_order_and_each_has_a_link() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", text_of("glossary.md"), re.MULTILINE)[2:]
    terms = [term.strip("`").lower() for term, _, _ in rows]
    assert len(terms) > 40
    assert terms == sorted(terms)
    assert [term for term, _, more in rows if "](" not in more] == []
