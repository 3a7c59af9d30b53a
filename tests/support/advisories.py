"""What went wrong in projects like this one in 2025 and 2026, and how this one answers: the table of `docs/operate/secure.md`.

Each row names the tests that try it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Advisory:
    """One hole, found elsewhere, maybe several times.

    Attributes:
        ids: numbers of advisories, or of issues where there is no advisory.
        project: whose they are.
        wrong: what was wrong, as a sentence.
        here: what this service does, as a sentence.
        tests: `file::function`, relative to `tests/`.
    """

    ids: tuple[str, ...]
    project: str
    wrong: str
    here: str
    tests: tuple[str, ...]


INJECTION = "security/test_injection.py::"
FETCHED = "security/test_nothing_is_fetched.py::"
FORMS = "security/test_forms_and_prefetches.py::"
FLOORS = "security/test_floors.py::"
PATHS = "security/test_playground_paths.py::"
MIXED = "security/test_interleaving.py::"
TOKENS = "guard/test_jwt.py::"
CHECKS = "security/test_key_checks.py::"
ROUTES = "security/test_every_route.py::"

ADVISORIES = (
    Advisory(
        ("CVE-2026-48710",),
        'Starlette before 1.0.1 ("BadHost")',
        "The path of a request was built from its `Host`, so that a client chose the path that a check saw.",
        "The check is made where a route has been found, for the route itself; no code asks for the URL of a request.",
        (
            f"{CHECKS}test_cve_2026_48710_no_host_opens_a_route",
            f"{CHECKS}test_no_spelling_of_a_path_opens_a_route",
            f"{FLOORS}test_cve_2026_48710_no_code_asks_for_the_url_of_a_request",
        ),
    ),
    Advisory(
        ("CVE-2026-54283",),
        "Starlette before 1.3.1",
        "The limits on forms did not hold for urlencoded ones.",
        "No form is parsed: a form's body is refused as JSON that it is not, and a large one before it has arrived.",
        (
            f"{FORMS}test_cve_2026_54283_form_is_refused_unparsed",
            f"{FORMS}test_cve_2026_54283_no_parser_of_forms_is_installed_with_the_service",
        ),
    ),
    Advisory(
        ("CVE-2026-48818", "CVE-2025-62727"),
        "Starlette before 1.1.0, before 0.49.1",
        "A UNC path in a URL of static files reached another machine; many ranges took quadratic time.",
        "Only the playground's own files are served, and a thousand ranges send no more than the file.",
        (
            f"{PATHS}test_cve_2026_48818_path_outside_serves_nothing",
            f"{PATHS}test_cve_2025_62727_many_ranges_send_no_more_than_the_file",
            f"{FLOORS}test_starlette_floor_is_above_every_advisory",
        ),
    ),
    Advisory(
        (
            *("CVE-2026-35515", "GHSA-p6xx-57qc-3wxr", "GHSA-4hxc-9384-m385", "flask-sse#40"),
            *("django-eventstream#185", "fastify-sse-v2#110"),
        ),
        "NestJS, Hono, h3, flask-sse, django-eventstream, fastify-sse-v2",
        "A line end in `event`, `id` or a comment began a new field of the event stream.",
        "Every value is JSON on one line, U+0085, U+2028 and U+2029 included; names of events are constants, and ids"
        " are the service's own.",
        (
            f"{INJECTION}test_cve_2026_35515_no_value_ends_its_line_in_a_frame",
            f"{INJECTION}test_no_value_of_a_request_reaches_a_head",
        ),
    ),
    Advisory(
        ("CVE-2026-25536",),
        "MCP's SDK for TypeScript before 1.25.4",
        "Clients that shared a transport got each other's answers.",
        "A stream belongs to one response, a frame to one generation; a thousand mixed viewers get their own words, also"
        " after another worker has taken over.",
        (
            f"{MIXED}test_cve_2026_25536_thousand_interleaved_viewers_get_their_own_words",
            f"{MIXED}test_cve_2026_25536_viewers_get_their_own_words_after_a_take_over",
        ),
    ),
    Advisory(
        ("CVE-2025-66414", "CVE-2025-66416", "CVE-2026-34742"),
        "MCP's SDKs for TypeScript, Python, Go",
        "A page could reach a server on localhost by DNS rebinding.",
        "Names are served only if they are loopback names or in `server.hosts`, on every address; 421 names the setting.",
        (
            "web/test_origins.py::test_page_that_rebinds_its_name_gets_nothing",
            "serve/test_hosts_of_a_service.py::test_service_on_every_address_serves_no_foreign_name",
        ),
    ),
    Advisory(
        ("CVE-2026-45400", "CVE-2026-8768"),
        "Open WebUI, AI SDK",
        "A URL in a request was fetched after a check that another parser had made, or through a redirect.",
        "No URL in a request is fetched: an image's is passed on to the provider, or refused. No redirect is followed.",
        (
            f"{FETCHED}test_cve_2026_45400_urls_in_requests_are_never_fetched",
            f"{FETCHED}test_cve_2026_8768_redirect_of_an_upstream_is_not_followed",
        ),
    ),
    Advisory(
        ("vercel/ai, June 2026",),
        "AI SDK 5.0.198, 6",
        "The id of a chunk was the key of an object, so that `__proto__` changed all objects.",
        "The playground uses nothing from a stream as a key, and the ids of text parts are numbers.",
        (
            f"{FLOORS}test_playground_uses_nothing_from_outside_as_the_key_of_an_object",
            f"{INJECTION}test_cve_2026_35515_no_value_ends_its_line_in_a_frame",
        ),
    ),
    Advisory(
        ("CVE-2026-8769",),
        "AI SDK",
        "The body of an upstream's error was read without a limit.",
        "At most 64 KiB of it are read, for at most two seconds, and no client sees it.",
        ("security/test_upstream_errors.py::test_cve_2026_8769_error_body_of_100_mb_is_not_read",),
    ),
    Advisory(
        ("GHSA-84j6-jc92-77jm",),
        "frontmcp",
        "The id of an event was enough to replay the stream of another session.",
        "An id names its principal; a cursor, an id or a chat of another one is answered as one that does not exist.",
        (f"{ROUTES}test_generation_of_another_is_answered_as_one_that_does_not_exist",),
    ),
    Advisory(
        ("CVE-2026-45349",),
        "Open WebUI",
        "The id of another user's chat was accepted.",
        "Each principal has chats and idempotency keys of its own: the same id of two principals is two chats.",
        (
            f"{ROUTES}test_same_chat_id_of_two_principals_is_two_chats",
            f"{ROUTES}test_same_idempotency_key_of_two_principals_gives_two_answers",
        ),
    ),
    Advisory(
        ("CVE-2026-45339",),
        "Open WebUI",
        "A restriction did not hold for a key in `x-api-key`.",
        "One function finds the credential, whatever carries it, and one check follows.",
        (
            f"{ROUTES}test_without_a_valid_key_every_carrier_is_refused_alike",
            f"{ROUTES}test_one_credential_counts_and_a_header_wins_over_the_cookie",
        ),
    ),
    Advisory(
        ("CVE-2026-44553",),
        "Open WebUI",
        "A user whose rights had been taken away kept a live socket.",
        "Revoking a key, or removing its principal, cuts the streams that it has opened within a second, also through"
        " tickets.",
        (
            "security/test_revocation.py::test_streams_of_every_dialect_are_cut",
            "security/test_revocation.py::test_real_service_cuts_a_revoked_key_within_a_second",
            "web/test_tickets_of_principals.py::test_revoked_key_takes_its_tickets_and_their_streams_along",
        ),
    ),
    Advisory(
        ("CVE-2026-42208",),
        "LiteLLM",
        "A key became part of an SQL statement; the hole was exploited within 36 hours.",
        "A key that has the form of one is looked up by its SHA-256, in memory; any other text is an unknown key.",
        (f"{CHECKS}test_cve_2026_42208_any_text_as_a_key_is_an_unknown_key",),
    ),
    Advisory(
        ("CVE-2026-35030",),
        "LiteLLM",
        "A cache of tokens had their first 20 characters as its key.",
        "What is remembered of a token is found by the SHA-256 of all of it, and not after its `exp`.",
        (
            f"{TOKENS}test_tokens_that_begin_alike_are_two_tokens",
            f"{TOKENS}test_remembered_token_expires",
        ),
    ),
    Advisory(
        (
            *("GHSA-752w-5fwx-jx9f", "CVE-2025-59420", "CVE-2026-48526", "CVE-2026-27962"),
            "python-jose#419",
        ),
        "PyJWT, Authlib, python-jose",
        "An unknown `crit` was accepted; a public key counted as an HMAC secret; a token brought its own key.",
        "Algorithms and keys come from the settings and the issuer's address, never from a token; any `crit` is refused.",
        (
            f"{TOKENS}test_header_brings_no_key_and_no_extension",
            f"{TOKENS}test_hmac_with_the_public_key_is_refused",
            f"{TOKENS}test_algorithm_none_is_refused",
            f"{TOKENS}test_algorithm_that_the_settings_lack_is_refused",
        ),
    ),
    Advisory(
        ("CVE-2026-42271", "CVE-2024-6587"),
        "LiteLLM",
        "A test endpoint ran a command from the body; `api_base` in a request sent the key elsewhere.",
        "No request has a command, a path or an address, and none chooses the upstream: it comes from the settings.",
        (
            f"{FETCHED}test_cve_2026_42271_no_request_has_a_command_path_or_address",
            f"{FETCHED}test_cve_2024_6587_no_request_chooses_the_upstream",
        ),
    ),
    Advisory(
        ("LiteLLM, 18 March 2026",),
        "LiteLLM",
        "A guardrail logged headers with keys, into traces as well.",
        "No log line, error or command line has a key, a ticket or a word of a prompt or an answer; Redis has prompts and"
        " answers only where they are kept, and of tickets a hash.",
        ("security/test_planted_secrets.py::test_planted_secrets_leak_nowhere",),
    ),
    Advisory(
        ("none",),
        "uvicorn, httptools, sse-starlette",
        "Nothing was found in 2025 and 2026.",
        "WebSockets are off, although Gemini's SDK brings a library for them.",
        (f"{FLOORS}test_no_websocket_is_opened",),
    ),
)


def table() -> str:
    """Return one line per row."""
    lines = [
        "| advisory | project | what was wrong | what streamsvc does | test |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in ADVISORIES:
        tests = ", ".join(f"`{name.rpartition('::')[2]}`" for name in row.tests)
        cells = (", ".join(row.ids), row.project, row.wrong, row.here, tests)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def missing() -> Iterator[str]:
    """Yield the tests that rows name and that do not exist."""
    for row in ADVISORIES:
        for name in row.tests:
            file, _, function = name.partition("::")
            path = TESTS / file
            if not path.is_file() or f"def {function}(" not in path.read_text():
                yield name
