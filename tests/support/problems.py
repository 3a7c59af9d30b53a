"""Refusals of the native API: the service that gives them, and what every one must look like."""

import json

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import LimitSettings, Settings
from support.eventstream import Answer

HURRIED = FakeSettings(words_per_second=0, first_word_seconds=0, text="One two three.")
LIMITS = LimitSettings(max_body_bytes=20_000, max_prompt_chars=1000)
BOUNDED = Settings(providers={"fake": HURRIED}, limits=LIMITS)
"""A service with small limits that answers at once."""


def assert_is_problem(answer: Answer, status: int, field: str | None) -> None:
    """Check an answer that was read to its end against RFC 9457 and `docs/reference/http.md`."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem = json.loads(bytes(answer.raw))
    assert problem["status"] == status
    assert problem.get("field") == field
    assert problem["title"]
    assert problem["code"].replace("_", "").isalpha()
    # One sentence for people.
    assert problem["detail"][0].isupper()
    assert len(problem["detail"]) < 200
    # It names the field: many clients show nothing else.
    if problem["code"] == "invalid_field":
        assert str(field).rpartition(".")[2] in problem["detail"]
    assert problem.keys() <= {"title", "status", "detail", "code", "field"}
