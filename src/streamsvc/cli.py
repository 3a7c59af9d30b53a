"""The command line: `streamsvc serve | demo | check-config | doctor | deploy | key | params | ask`.

Exit codes: 0 success; 1 the answer failed; 2 wrong settings or arguments; 130 stopped by Ctrl-C; 141 the reader of
the output closed the pipe. Each command imports what it needs when it runs, so that it starts fast.
"""

import argparse
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from streamsvc import extras
from streamsvc.arguments import options_of, parse
from streamsvc.config.addresses import url_for_this_machine
from streamsvc.config.file import KEY_VARIABLE
from streamsvc.config.keys_file import read_keys
from streamsvc.config.load import Source
from streamsvc.config.provider_settings import ProviderSettings, UpstreamSection
from streamsvc.config.settings import Settings
from streamsvc.errors import EXIT_CONFIG, ConfigError

EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    arguments = parse(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # it may be a terminal with few characters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        own = {"key": _key, "doctor": _doctor, "deploy": _deploy}.get(arguments.command)
        code = own(arguments) if own else _run(arguments, argv)
        print(end="", flush=True)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # At exit Python flushes the rest of its buffer, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    return code


def _run(arguments: argparse.Namespace, argv: Sequence[str] | None) -> int:
    options = options_of(arguments)
    inheritance = _inheritance() if arguments.command in {"serve", "demo"} else None
    text = inheritance.settings if inheritance else None
    source = Source(arguments.config, os.environ, options, text)
    try:
        settings = source.load()
        if inheritance is not None:
            settings = inheritance.like_the_others(settings, source)
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return EXIT_CONFIG
    match arguments.command:
        case "demo" if inheritance is None:
            return _demo(lambda environ: Source(arguments.config, environ, options), argv)
        case "serve" | "demo" as command:
            return _serve(settings, source, inheritance, argv, is_demo=command == "demo")
        case "ask":
            return _ask(arguments, settings)
        case "params":
            return _print_parameters(settings, arguments.entry or settings.provider)
        case _:
            return _check_config(settings, source.path)


def _key(arguments: argparse.Namespace) -> int:
    """Make, list or revoke keys; with `--file` it needs no settings."""
    return int(importlib.import_module("streamsvc.keys.command").run(arguments, os.environ))


def _doctor(arguments: argparse.Namespace) -> int:
    """Check everything that the service needs; wrong settings are among what it finds."""
    doctor = importlib.import_module("streamsvc.doctor.command")
    options = options_of(arguments)
    return int(doctor.run(arguments.config, os.environ, options, as_json=arguments.json))


def _deploy(arguments: argparse.Namespace) -> int:
    """Print a deployment file."""
    deploy = importlib.import_module("streamsvc.deploy.command")
    return int(deploy.run(arguments.kind, arguments.config, os.environ, options_of(arguments)))


def _ask(arguments: argparse.Namespace, settings: Settings) -> int:
    """Ask a running service, or with `--direct` a provider."""
    ask = importlib.import_module("streamsvc.ask")
    prompt, provider = arguments.prompt, arguments.provider
    if arguments.direct:
        return int(ask.ask_provider(settings, os.environ, prompt, provider=provider))
    url = arguments.url or url_for_this_machine(settings.server.host, settings.server.port)
    key = os.environ.get(KEY_VARIABLE, "")
    return int(ask.ask_service(url, prompt, provider=provider, key=key))


def _serve(
    settings: Settings,
    source: Source,
    inheritance: Any,
    argv: Sequence[str] | None,
    *,
    is_demo: bool = False,
) -> int:
    """Serve in this process, or supervise workers that run the same command.

    Args:
        settings: the whole configuration.
        source: where it comes from.
        inheritance: from the supervisor; None if this process is not a worker.
        argv: as in `main`.
        is_demo: whether it is a worker of a demo.
    """
    _hold_hangups()
    if settings.server.workers == 1 or inheritance is not None:
        run = importlib.import_module("streamsvc.server.run")
        return int(run.serve(settings, os.environ, source, inheritance, is_demo=is_demo))
    workers = importlib.import_module("streamsvc.server.workers.serve")
    return int(workers.serve_workers(settings, source, _this_command(argv), os.environ))


def _demo(source: Callable[[Mapping[str, str]], Source], argv: Sequence[str] | None) -> int:
    """Be the demo, whose workers run the same command.

    Args:
        source: returns where the settings come from, with an environment.
        argv: as in `main`.
    """
    _hold_hangups()
    demo = importlib.import_module("streamsvc.demo.command")
    return int(demo.run(os.environ, _this_command(argv), source))


def _hold_hangups() -> None:
    """Let SIGHUP wait until the service has a handler: until then, it would end the process."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def _inheritance() -> Any:
    """Return what this process inherits from a supervisor; None if it is not a worker."""
    return importlib.import_module("streamsvc.server.workers.inheritance").inherit(os.environ)


def _this_command(argv: Sequence[str] | None) -> Sequence[str]:
    """Return the program and arguments that run this command again."""
    arguments = sys.orig_argv[1:] if argv is None else ["-m", "streamsvc", *argv]
    return [sys.executable, *arguments]


def _check_config(settings: Settings, path: Path | None) -> int:
    """Check the keys file as well, and describe what is there; return the exit code."""
    keys_file = settings.auth.keys_file
    try:
        principals = read_keys(Path(keys_file), settings.providers) if keys_file else {}
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return EXIT_CONFIG
    print(f"Configuration OK ({path or 'no file, defaults'}). Provider: {settings.provider!r}.")
    for name, entry in settings.providers.items():
        print(f"  {name}: {_in_words(entry)}")
    if keys_file:
        keys = sum(len(principal.keys) for principal in principals.values())
        print(f"Keys file OK ({keys_file}). Principals: {len(principals)}. Keys: {keys}.")
    return 0


def _print_parameters(settings: Settings, name: str) -> int:
    """Print the fate of each parameter at an entry, one line each; return the exit code."""
    entry = settings.providers.get(name)
    if entry is None:
        known = ", ".join(sorted(settings.providers))
        print(f"Unknown provider {name!r}; configured: {known}.", file=sys.stderr)
        return EXIT_CONFIG
    fates = importlib.import_module("streamsvc.providers.parameters").fates(entry)
    width = max(map(len, fates))
    for parameter, fate in fates.items():
        print(f"{parameter:{width}}  {fate}")
    return 0


def _in_words(entry: ProviderSettings) -> str:
    words = f"kind {entry.kind}, model {entry.model}"
    if isinstance(entry, UpstreamSection) and entry.api_key_env:
        # The variable is not named: someone may have put the key itself in its place.
        words += ", no key set" if entry.key(os.environ) is None else ", key set"
    if not entry.has_sdk:
        words += f", SDK missing ({extras.install(entry.extra)})"
    return words
