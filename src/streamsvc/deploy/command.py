"""`streamsvc deploy KIND`: prints one deployment file."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from streamsvc.config.file import find
from streamsvc.config.load import Loaded, read
from streamsvc.deploy.caddy import caddy
from streamsvc.deploy.compose import compose
from streamsvc.deploy.docker import dockerfile
from streamsvc.deploy.k8s import k8s
from streamsvc.deploy.nginx import nginx
from streamsvc.deploy.plan import Plan, plan_of
from streamsvc.deploy.systemd import systemd
from streamsvc.errors import EXIT_CONFIG

FILES: Mapping[str, tuple[str, Callable[[Plan], str]]] = {
    "docker": ("Dockerfile", dockerfile),
    "compose": ("compose.yaml", compose),
    "k8s": ("k8s.yaml", k8s),
    "systemd": ("streamsvc.service", systemd),
    "nginx": ("nginx.conf", nginx),
    "caddy": ("Caddyfile", caddy),
}
"""By kind: the usual name of the file, and its text."""


def run(
    kind: str, path: Path | None, environ: Mapping[str, str], options: Mapping[str, str]
) -> int:
    """Print the file of a kind for the settings; return the exit code.

    Args:
        kind: one of `FILES`.
        path: the settings file; None as in `load`.
        environ: the process's environment; keys of providers are not needed here.
        options: as in `load`.
    """
    loaded = _loaded(path, environ, options)
    if loaded.mistakes:
        print("\n".join(loaded.mistakes), file=sys.stderr)
        return EXIT_CONFIG
    given = {**environ, **options}
    plan = plan_of(loaded, given, has_file=find(path, environ) is not None)
    print(FILES[kind][1](plan), end="")
    return 0


def _loaded(path: Path | None, environ: Mapping[str, str], options: Mapping[str, str]) -> Loaded:
    """Return the settings; the keys that they need will be where they are deployed."""
    settings = read(path, environ, options).settings
    if settings.provider not in settings.providers:
        return read(path, environ, options)
    missing = [it for it in Plan(settings).key_variables if not environ.get(it, "").strip()]
    return read(path, {**environ, **dict.fromkeys(missing, "set-where-it-runs")}, options)
