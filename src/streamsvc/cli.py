"""The command line: `streamsvc serve | check-config | ask`.

Exit codes: 0 all well; 1 the answer failed; 2 the settings or the arguments are wrong; 130 stopped by
Ctrl-C; 141 whoever read the output has gone. What a command needs is imported when it is called, so
that each starts fast.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from streamsvc import __version__
from streamsvc.config.check import api_key
from streamsvc.config.file import find
from streamsvc.config.load import KINDS, load, setting_for
from streamsvc.config.settings import ProviderSettings, Settings, UpstreamSection
from streamsvc.errors import ConfigError

EXIT_CONFIG = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    arguments = _parse(argv)
    try:
        code = _run(arguments)
        print(end="", flush=True)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python writes what is left in the buffer once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    return code


def _run(arguments: argparse.Namespace) -> int:
    try:
        settings = load(arguments.config, os.environ)
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return EXIT_CONFIG
    match arguments.command:
        case "serve":
            return int(importlib.import_module("streamsvc.server.run").serve(settings, os.environ))
        case "ask" if not arguments.direct:
            url = arguments.url or _service_url(settings)
            return int(importlib.import_module("streamsvc.ask").ask_service(
                url, arguments.prompt, provider=arguments.provider
            ))  # fmt: skip
        case "ask":
            return int(importlib.import_module("streamsvc.ask").ask_provider(
                settings, os.environ, arguments.prompt, provider=arguments.provider
            ))  # fmt: skip
        case _:
            _describe(settings, find(arguments.config, os.environ))
            return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments; the process ends with 2 where there is one too many."""
    parser = argparse.ArgumentParser(
        prog="streamsvc",
        description="Streams language-model answers word by word over server-sent events.",
    )
    parser.add_argument("--version", action="version", version=f"streamsvc {__version__}")
    commands = _add_commands(parser)
    arguments, rest = parser.parse_known_args(argv)
    if rest:
        hints = [
            f"set {key} in config.toml, or {variable}"
            for key, variable in filter(None, map(setting_for, rest))
        ]
        hint = f" ({'; '.join(hints)})" if hints else ""
        commands[arguments.command].error(f"unrecognized arguments: {' '.join(rest)}{hint}")
    return arguments


def _add_commands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """Add the commands, and return the parser of each by its name."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the settings (default: $STREAMSVC_CONFIG, else ./config.toml, else the defaults)",
    )
    commands.add_parser("serve", parents=[config], help="run the service")
    commands.add_parser(
        "check-config", parents=[config], help="read the settings and say what they come to"
    )
    ask = commands.add_parser(
        "ask", parents=[config], help="ask one question and print the words as they come"
    )
    ask.add_argument("prompt", type=_valid_text)
    ask.add_argument("--provider", metavar="NAME", help="a provider entry (default: as configured)")
    ask.add_argument(
        "--url", help="a running service (default: on this machine, at the port of the settings)"
    )
    ask.add_argument(
        "--direct", action="store_true", help="ask the provider itself; no service is needed"
    )
    return commands.choices


def _service_url(settings: Settings) -> str:
    """Return where a service with these settings is reached from its own machine."""
    host = settings.server.host
    if host in {"0.0.0.0", "::"}:  # noqa: S104  # to listen on, not to call
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.server.port}"


def _valid_text(argument: str) -> str:
    """Return an argument of the command line, which may be any bytes, as text."""
    return argument.encode(errors="surrogateescape").decode(errors="replace")


def _describe(settings: Settings, path: Path | None) -> None:
    source = path or "there is no file, these are the defaults"
    print(f"The settings are good ({source}). The provider is {settings.provider!r}.")
    for name, entry in settings.providers.items():
        print(f"  {name}: {_in_words(entry)}")


def _in_words(entry: ProviderSettings) -> str:
    kinds = {section: kind for kind, section in KINDS.items()}
    words = f"kind {kinds[type(entry)]}, model {entry.model}"
    if isinstance(entry, UpstreamSection) and entry.api_key_env:
        # The variable is not named: a key may stand in the place of its name.
        words += ", no key set" if api_key(entry, os.environ) is None else ", key set"
    return words
