"""The command line: `streamsvc serve | check-config | ask`.

Exit codes: 0 all well; 1 the answer failed; 2 the settings or the arguments are wrong; 130 stopped by
Ctrl-C. What a command needs is imported when it is called, so that each starts fast.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from streamsvc.config import KINDS, load
from streamsvc.errors import ConfigError
from streamsvc.settings import Settings

EXIT_CONFIG = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "ask" and not arguments.direct:
        return int(importlib.import_module("streamsvc.ask").ask_service(
            arguments.url, arguments.prompt, provider=arguments.provider
        ))  # fmt: skip
    try:
        settings = load(arguments.config, os.environ)
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return EXIT_CONFIG
    match arguments.command:
        case "serve":
            return int(importlib.import_module("streamsvc.serve").serve(settings, os.environ))
        case "ask":
            return int(importlib.import_module("streamsvc.ask").ask_provider(
                settings, os.environ, arguments.prompt, provider=arguments.provider
            ))  # fmt: skip
        case _:
            _describe(settings)
            return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="streamsvc",
        description="Streams language-model answers word by word over server-sent events.",
    )
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
    ask.add_argument("prompt")
    ask.add_argument("--provider", metavar="NAME", help="a provider entry (default: as configured)")
    ask.add_argument(
        "--url",
        default="http://127.0.0.1:8000",
        help="a running service (default: %(default)s)",
    )
    ask.add_argument(
        "--direct", action="store_true", help="ask the provider itself; no service is needed"
    )
    return parser


def _describe(settings: Settings) -> None:
    kinds = {section: kind for kind, section in KINDS.items()}
    print(f"The settings are good. The provider is {settings.provider!r}.")
    for name, entry in settings.providers.items():
        print(f"  {name}: kind {kinds[type(entry)]}, model {entry.model}")
