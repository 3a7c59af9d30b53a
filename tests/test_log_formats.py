"""A log line as text and as JSON: the same event and fields, and nothing of an exception's text."""

import json
import logging
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import streamsvc
from streamsvc.config.settings import ServerSettings
from streamsvc.log_line import LogLine, Value, log
from streamsvc.server.log_formats import LINE_BYTES, JSONFormatter, TextFormatter
from streamsvc.server.logs import log_config

SECRET = "xyzzy-plugh"


def a_record(message: object, *args: object, exc: BaseException | None = None) -> logging.LogRecord:
    exc_info = None if exc is None else (type(exc), exc, exc.__traceback__)
    return logging.LogRecord("a.module", logging.WARNING, __file__, 1, message, args, exc_info)


def as_json(record: logging.LogRecord, worker: int | None = None) -> dict[str, Any]:
    """Return a record as one line of JSON, parsed."""
    line = JSONFormatter(worker=worker).format(record)
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < LINE_BYTES

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    fields: dict[str, Any] = json.loads(line, parse_constant=refuse)
    return fields


@pytest.mark.parametrize(
    ("fields", "note", "text"),
    [
        ({}, "", "a.done"),
        ({}, "look at it", "a.done: look at it"),
        ({"count": 2, "seconds": 1.5}, "", "a.done count=2 seconds=1.500"),
        ({"left": None, "is_new": True, "path": "a b"}, "why", "a.done is_new=true path=a b (why)"),
        ({"seconds": float("inf")}, "", "a.done seconds=inf"),
    ],
)
def test_text_and_json_have_the_same_fields(fields: dict[str, Value], note: str, text: str) -> None:
    record = a_record(LogLine("a.done", fields, note))
    assert TextFormatter("%(message)s").format(record) == text
    parsed = as_json(record, worker=3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", parsed["time"])
    at = datetime.fromisoformat(parsed.pop("time")).timestamp()
    assert at == pytest.approx(record.created, abs=0.001)
    assert (parsed.pop("level"), parsed.pop("logger")) == ("warning", "a.module")
    assert (parsed.pop("event"), parsed.pop("worker")) == ("a.done", 3)
    assert parsed.pop("note", "") == note
    kept = {name: value for name, value in fields.items() if value is not None}
    assert parsed == {
        name: "inf" if value == float("inf") else value for name, value in kept.items()
    }


def test_line_of_a_library_has_its_message() -> None:
    parsed = as_json(a_record("%s is\nodd \u2028", "x\ud800"))
    assert parsed["message"] == "x\ud800 is\nodd \u2028"
    assert "event" not in parsed
    assert "worker" not in parsed


@pytest.mark.promise("secret:kept")
def test_exception_of_a_library_is_its_class_and_place() -> None:
    with pytest.raises(ValueError, match=SECRET) as caught:
        raise ValueError(SECRET)
    parsed = as_json(a_record("crashed", exc=caught.value))
    assert parsed["exception"] == "ValueError"
    assert parsed["at"].startswith("test_log_formats.py:")
    assert SECRET not in str(parsed)


def test_a_long_line_is_cut_and_still_json() -> None:
    long: dict[str, Value] = {"one": "é" * 5000, "two": "b" * 9000, "count": 1, "short": "c"}
    parsed = as_json(a_record(LogLine("a.done", long)))
    assert parsed["one"].endswith("é…")
    assert parsed["two"].endswith("b…")
    assert (parsed["count"], parsed["short"]) == (1, "c")
    assert len(as_json(a_record("d" * 20_000))["message"]) > LINE_BYTES / 4


def test_the_settings_choose_the_format() -> None:
    for text, kind in (("text", TextFormatter), ("json", JSONFormatter)):
        settings = ServerSettings(log_format=text)  # type: ignore[arg-type]
        config = log_config(settings)["formatters"]["line"]
        assert config == {"()": kind, "worker": None}


def test_a_line_below_the_level_is_not_made(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("streamsvc.test")
    caplog.set_level(logging.WARNING, "streamsvc.test")
    log(logger, logging.INFO, "a.done")
    log(logger, logging.WARNING, "b.done", count=1)
    assert caplog.messages == ["b.done count=1"]


def test_every_line_of_the_service_has_an_event_and_fields() -> None:
    """A call that passes text would be a `message` without fields in JSON."""
    package = Path(streamsvc.__file__).parent
    calls = re.compile(r"\b_?logger\.(?:debug|info|warning|error|critical|exception|log|handle)\(")
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if calls.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"log_line.py"}
