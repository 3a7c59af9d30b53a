"""Checks that a setting's type cannot express: names that must exist, URLs, keys that must be set."""

import re
import ssl
import sys
from collections.abc import Collection, Mapping
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from streamsvc import extras
from streamsvc.config import file as configfile
from streamsvc.config.addresses import is_loopback
from streamsvc.config.file import one_of, shown
from streamsvc.config.guard_settings import JWTSettings
from streamsvc.config.provider_settings import ProviderSettings, UpstreamSection
from streamsvc.config.settings import LimitSettings, LogSettings, MetricsSettings, Settings


class Note(Protocol):
    """Receives a mistake."""

    def __call__(self, path: tuple[str, ...], found: str, accepted: str, *beside: str) -> None:
        """Note a mistake, unless the key has one already.

        Args:
            path: the path of the key.
            found: what was found there.
            accepted: what is accepted.
            beside: the path of another key that is inconsistent with this one.
        """
        ...


_CERTIFICATES = "SSL_CERT_FILE"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ORIGIN = re.compile(r"\*|https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[?[0-9A-Fa-f:.]+\]?")
_DATABASE = re.compile(r"/?\d*", re.ASCII)
_OPTIONS: Mapping[str, Collection[str]] = {
    "unix": {"db"},
    "redis": (),
    "rediss": {
        *("ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname"),
        *("ssl_keyfile", "ssl_password"),
    },
}
"""What may be set in the query of a store's URL, by scheme; the rest is set by this service."""

_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_NO_KEY = re.compile(r"[A-Z][A-Z0-9]{0,15}(_[A-Z0-9]{1,15})*")
"""Variable names that may be shown: short words in capitals, unlike any vendor's keys."""

MIN_KEY_CHARS = 16
"""The least length of a key that the operator makes up."""


def check(settings: Settings, environ: Mapping[str, str], note: Note) -> None:
    """Check settings that are valid individually, and note mistakes."""
    generations = settings.generations
    if generations.grace_seconds > generations.max_grace_seconds:
        accepted = f"at most max_grace_seconds, which is {generations.max_grace_seconds:.15g}"
        found = f"{generations.grace_seconds:.15g}"
        note(("generations", "grace_seconds"), found, accepted, "generations", "max_grace_seconds")
    _check_workers(settings, note)
    _check_limits(settings.limits, note)
    _check_addresses(settings, note)
    _check_access(settings, note)
    _check_jwt(settings.jwt, note)
    _check_log(settings.log, note)
    _check_metrics(settings.metrics, note, environ)
    for name, entry in settings.providers.items():
        _check_fallbacks(name, entry, settings, note)
        if isinstance(entry, UpstreamSection):
            _check_upstream(entry, ("providers", name), note)
    chosen = settings.providers.get(settings.provider)
    if chosen is None:
        accepted = f"the name of an entry, {one_of(settings.providers)}"
        note(("provider",), shown(settings.provider), accepted, "providers")
    if isinstance(chosen, UpstreamSection):
        _check_sdk(settings.provider, chosen, note)
        _check_key(chosen, ("providers", settings.provider, "api_key_env"), note, environ)


def _check_workers(settings: Settings, note: Note) -> None:
    if settings.server.workers == 1:
        return
    path, found = ("server", "workers"), str(settings.server.workers)
    if sys.platform == "win32":
        note(path, found, "1 on Windows, where processes cannot share a socket")
    if settings.log.kind == "memory":
        accepted = "1, because server.workers above 1 needs log.kind = 'redis': workers share answers through Redis"
        note(path, found, accepted, "log", "kind")


def _check_limits(limits: LimitSettings, note: Note) -> None:
    for name in ("max_total_body_bytes", "max_total_data_bytes"):
        if (total := getattr(limits, name)) < limits.max_body_bytes:
            accepted = f"at least max_body_bytes, which is {limits.max_body_bytes}"
            note(("limits", name), str(total), accepted, "limits", "max_body_bytes")


def _check_addresses(settings: Settings, note: Note) -> None:
    if not _PATH.fullmatch(settings.server.root_path):
        accepted = "a path such as '/llm', without a trailing slash, or ''"
        note(("server", "root_path"), shown(settings.server.root_path), accepted)
    for host in settings.server.hosts:
        if not _HOST.fullmatch(host):
            accepted = "a host without scheme, port or path, such as 'chat.example.com'"
            note(("server", "hosts"), shown(host), accepted)
    for origin in settings.cors.origins:
        if not _ORIGIN.fullmatch(origin):
            accepted = "scheme://host or scheme://host:port in lower case, or '*'"
            note(("cors", "origins"), shown(origin), accepted)


def _check_access(settings: Settings, note: Note) -> None:
    """Check that the service is open to everybody only where that is harmless, or where the settings say so."""
    auth, host = settings.auth, settings.server.host
    is_guarded = bool(auth.keys_file or settings.jwt.issuer)
    if auth.allow_anonymous and is_guarded:
        guard = ("auth", "keys_file") if auth.keys_file else ("jwt", "issuer")
        accepted = f"false, because {'.'.join(guard)} says who may use the service"
        note(("auth", "allow_anonymous"), "true", accepted, *guard)
    is_reachable = not is_loopback(host.strip("[]").lower())
    if is_reachable and not is_guarded and not auth.allow_anonymous:
        accepted = (
            "a loopback address such as '127.0.0.1', because nothing says who may use the service; set auth.keys_file"
            " (`streamsvc key new NAME` makes keys) or jwt.issuer, or let everybody in with auth.allow_anonymous = true"
        )
        note(("server", "host"), shown(host), accepted, "auth", "keys_file")


def _check_jwt(jwt: JWTSettings, note: Note) -> None:
    if not jwt.issuer:
        for name in ("audience", "jwks_url"):
            if value := getattr(jwt, name):
                accepted = "'', because jwt.issuer is '': without an issuer, no tokens are accepted"
                note(("jwt", name), shown(value), accepted, "jwt", "issuer")
        return
    if not extras.is_installed("jwt"):
        accepted = f"an issuer only with joserfc: {extras.install('jwt')}"
        note(("jwt", "issuer"), shown(jwt.issuer), accepted)
    if not jwt.audience:
        accepted = "the audience that the issuer names in tokens for this service"
        note(("jwt", "audience"), shown(jwt.audience), accepted, "jwt", "issuer")
    if not _is_jwks_url(jwt.jwks_url):
        accepted = "the https:// URL where the issuer publishes its keys; http:// only on a loopback address"
        note(("jwt", "jwks_url"), shown(jwt.jwks_url, hide_text="@" in jwt.jwks_url), accepted)


def _is_jwks_url(url: str) -> bool:
    """Return whether keys may come from a URL: nobody on the way may be able to replace them."""
    before_query = url.partition("?")[0]
    if not _is_address(before_query) or not url.isprintable() or "#" in url or " " in url:
        return False
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def _check_log(log: LogSettings, note: Note) -> None:
    if log.kind == "redis" and not extras.is_installed("redis"):
        accepted = f"'redis' only with redis-py: {extras.install('redis')}"
        note(("log", "kind"), shown(log.kind), accepted)
    if not _is_store(log.url):
        found = shown(log.url, hide_text="@" in log.url)
        accepted = (
            "a redis://, rediss:// or unix:// URL, such as 'redis://127.0.0.1:6379/0', with no options but the"
            " paths of certificates (such as ?ssl_ca_certs=…) after rediss://, or ?db=… after unix://"
        )
        note(("log", "url"), found, accepted)


def _check_metrics(metrics: MetricsSettings, note: Note, environ: Mapping[str, str]) -> None:
    path = ("metrics", "key_env")
    if not _VARIABLE.fullmatch(metrics.key_env):
        found = "a string that cannot be the name of a variable (not shown: it may be a key)"
        note(path, found, "the name of an environment variable, such as METRICS_KEY")
    elif metrics.access == "key" and not _is_key(metrics.key(environ)):
        can_be_shown = may_be_shown(metrics.key_env)
        name = repr(metrics.key_env) if can_be_shown else "a name (not shown: it may be a key)"
        accepted = f"a variable with a key of at least {MIN_KEY_CHARS} visible ASCII characters"
        note(path, f"{name}, which holds no such key", accepted)


def _is_key(text: str) -> bool:
    return len(text) >= MIN_KEY_CHARS and can_be_key(text)


def _is_store(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if not url.isprintable() or " " in url or parts.fragment:
        return False
    options = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if not options.issubset(_OPTIONS.get(parts.scheme, ())):
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    has_place = bool(parts.hostname) and port != 0
    has_database = _DATABASE.fullmatch(parts.path) is not None
    return parts.scheme in {"redis", "rediss"} and has_place and has_database


def _check_fallbacks(name: str, entry: ProviderSettings, settings: Settings, note: Note) -> None:
    others = [other for other in settings.providers if other != name]
    for at, fallback in enumerate(entry.fallbacks):
        if fallback not in others or fallback in entry.fallbacks[:at]:
            accepted = f"names of other entries, each once: {one_of(others)}"
            note(("providers", name, "fallbacks"), shown(fallback), accepted)


def _check_upstream(entry: UpstreamSection, path: tuple[str, ...], note: Note) -> None:
    if entry.base_url and not _is_address(entry.base_url):
        found = shown(entry.base_url, hide_text="@" in entry.base_url)
        accepted = "an http:// or https:// URL without a query"
        note((*path, "base_url"), found, accepted)
    if entry.api_key_env and not _VARIABLE.fullmatch(entry.api_key_env):
        found = "a string that cannot be the name of a variable (not shown: it may be a key)"
        accepted = "the name of an environment variable, such as OPENAI_API_KEY"
        note((*path, "api_key_env"), found, accepted)
    if own := entry.own_fields & entry.extra_body.keys():
        accepted = (
            f"fields that the service does not send itself, so not {one_of(entry.own_fields)}"
        )
        note((*path, "extra_body"), shown(min(own)), accepted)


def _check_sdk(name: str, entry: UpstreamSection, note: Note) -> None:
    """Check that the SDK of the chosen entry is installed; the others need theirs only when they are used."""
    if not entry.has_sdk:
        found = f"{shown(name)}, an entry of kind {entry.kind!r}"
        accepted = f"such an entry only with the SDK of its kind: {extras.install(entry.extra)}"
        note(("provider",), found, accepted, "providers", name, "kind")


def _check_key(
    entry: UpstreamSection, path: tuple[str, ...], note: Note, environ: Mapping[str, str]
) -> None:
    """Check the key of the chosen entry; the other entries need theirs only when they are used."""
    key = entry.key(environ)
    can_be_shown = may_be_shown(entry.api_key_env)
    name = repr(entry.api_key_env) if can_be_shown else "a name (not shown: it may be a key)"
    if key is None:
        accepted = "the name of an environment variable that holds the key"
        note(path, f"{name}, which is not set in the environment", accepted)
    elif not can_be_key(key):
        accepted = "a variable whose value is a key: visible ASCII characters"
        note(path, f"{name}, whose value cannot be a key", accepted)


def may_be_shown(variable: str) -> bool:
    """Return whether the name of a variable is unlike any key that someone may have put in its place."""
    return _NO_KEY.fullmatch(variable) is not None


def can_be_key(text: str) -> bool:
    """Return whether a text can be sent as a key: visible ASCII characters (RFC 9110, section 5.5)."""
    return text.isascii() and text.isprintable() and " " not in text


def check_certificates(environ: Mapping[str, str]) -> None:
    """Check the file of certificates that every HTTP client reads when it is created.

    Raises:
        ConfigError: the file cannot be read.
    """
    if path := environ.get(_CERTIFICATES):
        try:
            ssl.create_default_context(cafile=path)
        except OSError as exc:
            accepted = "a readable file of PEM certificates"
            configfile.refuse(_CERTIFICATES, shown(path), accepted, exc)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    is_plain = url.isprintable() and not any(c in url for c in " ?#")
    return parts.scheme in {"http", "https"} and has_place and is_plain
