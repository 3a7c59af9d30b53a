"""The providers: is the key of each entry set and plausible, and does its API take it, without spending tokens?"""

from collections.abc import Iterator, Mapping

from streamsvc import extras
from streamsvc.config.check import can_be_key, may_be_shown
from streamsvc.config.provider_settings import (
    GeminiSettings,
    OpenAISettings,
    UpstreamSection,
)
from streamsvc.config.settings import Settings
from streamsvc.doctor.clocks import Clocks
from streamsvc.doctor.findings import Finding, Findings, fail, ok, warn
from streamsvc.doctor.places import place_of
from streamsvc.provider_errors import ProviderError, ProviderRateLimited
from streamsvc.providers.reach import Reached, reach

REACH_SECONDS = 4.0
"""How long a provider may take, all questions together."""

_KEYS = {"AIza": "Google", "sk-": "OpenAI", "ssk_": "streamsvc"}
_WRAPPINGS = ("'", '"', "Bearer")
_SHORTEST_KEY = 20

_FAILED_STEPS = {
    "DNS": ("the name of the server is unknown", "check {base_url} and the name server"),
    "TCP": ("nothing answers there", "check {base_url}, the server, and firewalls on the way"),
    "proxy": ("the environment's proxy opens no connection", "check https_proxy and no_proxy"),
    "TLS": (
        "no TLS connection",
        "check the server's certificate, SSL_CERT_FILE, and http:// or https:// in {base_url}",
    ),
    "answer": ("the server sends no HTTP response", "check {base_url}: is this an HTTP server?"),
}
"""What is wrong if a step of the way does not succeed, and what to look at."""

_ADVICE = {
    "provider_auth": "check the key in {variable}, and what it may do",
    "provider_quota": "pay the account, or raise its limit",
    "provider_misconfigured": "check {base_url}; that of most servers ends in /v1",
    "provider_model_not_found": "check {model}, and whether the key may use the model",
}
"""What to do about a refusal, by its code."""


async def check_entry(
    name: str, settings: Settings, environ: Mapping[str, str], clocks: Clocks
) -> Findings:
    """Check one provider entry.

    Args:
        name: of the entry.
        settings: the whole configuration.
        environ: holds the keys.
        clocks: take the provider's.
    """
    entry, is_default = settings.providers[name], name == settings.provider
    if not isinstance(entry, UpstreamSection):
        return [ok(f"provider {name}", "made-up words: no key and no network needed")]
    key = entry.key(environ)
    findings = [*_check_sdk(name, entry, key), _check_key(name, settings, entry, environ)]
    if key is None or not can_be_key(key or "-"):
        return findings
    reached = await reach(entry, key, seconds=REACH_SECONDS)
    if reached.clock_seconds is not None:
        clocks.note(name, reached.clock_seconds)
    finding = _judge(name, entry, reached)
    if finding.status == "fail" and not is_default:
        finding = warn(finding.what, finding.found, finding.advice)
    return [*findings, finding]


def _check_sdk(name: str, entry: UpstreamSection, key: str | None) -> Iterator[Finding]:
    """Check the SDK of an entry that has its key; if it is the default entry, a missing SDK is among the mistakes."""
    if key is not None and not entry.has_sdk:
        yield warn(
            f"provider {name}", "the SDK of its kind is not installed", extras.install(entry.extra)
        )


def _check_key(
    name: str, settings: Settings, entry: UpstreamSection, environ: Mapping[str, str]
) -> Finding:
    what, variable = f"key {name}", _variable(entry)
    key = entry.key(environ)
    if key is None:
        return _missing_key(name, settings, variable)
    if not entry.api_key_env:
        return ok(what, "none is needed")
    if not can_be_key(key):
        found = f"{variable} has characters that no key has"
        return fail(what, found, "set it again, without spaces and line breaks")
    if doubt := _doubt(entry, key):
        advice = "check that it is the key of this provider, and nothing else"
        return warn(what, f"{variable} {doubt}", advice)
    return ok(what, f"{variable} is set")


def _missing_key(name: str, settings: Settings, variable: str) -> Finding:
    what, found = f"key {name}", f"{variable} is not set"
    advice = f"set {variable} in the environment of the service"
    if name == settings.provider:
        return fail(what, found, advice)
    default = settings.providers.get(settings.provider)
    if default is not None and name in default.fallbacks:
        return warn(what, f"{found}, so the entry is no fallback", advice)
    return ok(what, f"{found}; requests that name this entry are refused")


def _doubt(entry: UpstreamSection, key: str) -> str:
    """Return why a text is hardly the key of an entry; "" if it may be."""
    if key.startswith(_WRAPPINGS):
        return "begins with a quotation mark or with 'Bearer'"
    vendor = next((whose for begin, whose in _KEYS.items() if key.startswith(begin)), "")
    if isinstance(entry, OpenAISettings) and entry.is_openais_own and vendor != "OpenAI":
        return (
            f"looks like a key of {vendor}"
            if vendor
            else "does not begin with sk-, as OpenAI's keys do"
        )
    if isinstance(entry, GeminiSettings) and not entry.base_url and vendor not in ("Google", ""):
        return f"looks like a key of {vendor}"
    is_vendors_own = entry.url == entry.default_base_url
    return "is shorter than any key" if is_vendors_own and len(key) < _SHORTEST_KEY else ""


def _judge(name: str, entry: UpstreamSection, reached: Reached) -> Finding:
    what, way = f"provider {name}", _way(entry, reached)
    if reached.failed_step:
        found, advice = _FAILED_STEPS[reached.failed_step]
        if reached.problem is None or reached.problem.code == "provider_timeout":
            found = f"no end of the step {reached.failed_step} within its time"
        return fail(what, f"{way}: {found}", _filled(advice, name, entry))
    if (problem := reached.problem) is not None:
        found = f"{way}: {_sentence(problem, entry)}"
        advice = _filled(
            _ADVICE.get(problem.code, "try again, and look at the provider's status page"),
            name,
            entry,
        )
        is_passing = isinstance(problem, ProviderRateLimited)
        return warn(what, found, advice) if is_passing else fail(what, found, advice)
    if reached.left_open:
        return warn(
            what,
            f"{way}: {reached.left_open}",
            f"try it: streamsvc ask --direct --provider {name} hello",
        )
    key = "the key is accepted and " if entry.api_key_env else ""
    return ok(what, f"{way}: {key}the model {entry.model!r} is known")


def _sentence(problem: ProviderError, entry: UpstreamSection) -> str:
    match problem.code:
        case "provider_auth":
            return "the provider refuses the key"
        case "provider_model_not_found":
            return f"the provider does not know the model {entry.model!r}"
        case "provider_misconfigured":
            return "this address has no such API"
        case _:
            return problem.message[0].lower() + problem.message[1:].rstrip(".")


def _way(entry: UpstreamSection, reached: Reached) -> str:
    """Return where a provider is, without user and password, and how long each step took."""
    place = place_of(entry.url)
    steps = ", ".join(
        f"{step} {seconds * 1000:.0f} ms" for step, seconds in reached.seconds.items()
    )
    return f"{place} ({steps})" if steps else place


def _variable(entry: UpstreamSection) -> str:
    return entry.api_key_env if may_be_shown(entry.api_key_env) else "the variable in api_key_env"


def _filled(advice: str, name: str, entry: UpstreamSection) -> str:
    return advice.format(
        base_url=f"providers.{name}.base_url",
        model=f"providers.{name}.model",
        variable=_variable(entry),
    )
