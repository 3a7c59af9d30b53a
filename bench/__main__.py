"""The command: `uv run python -m bench`."""

import argparse
import json
from collections.abc import Callable, Collection
from pathlib import Path

from bench.bounds import verdicts
from bench.report import heading, put_into, tables
from bench.run import GenerationRequest, load_results, run
from bench.scenarios import SCENARIOS
from bench.targets import TARGETS

_USUAL = ("floor", "streamsvc", "streamsvc-openai", "naive", "litellm")
_QUICK = ("floor", "streamsvc", "streamsvc-openai")
_RESULTS = Path(__file__).parent / "results" / "latest.json"


def main() -> None:
    """Measure, or show what was measured."""
    arguments = _parser().parse_args()
    if not arguments.show:
        mode = "smoke" if arguments.smoke else "quick" if arguments.quick else "full"
        targets = arguments.targets or (_USUAL if mode == "full" else _QUICK)
        order = GenerationRequest(mode, arguments.only or tuple(SCENARIOS), targets, arguments.nice)
        written = run(order)
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(written, indent=1) + "\n")
    written, results = load_results(arguments.json)
    report = f"{heading(written['machine'])}\nMode: {written['mode']}.\n\n{tables(results)}\n"
    if arguments.into:
        text = arguments.into.read_text()
        arguments.into.write_text(put_into(text, report, results))
    print(f"\n{report}")
    print(*verdicts(results), sep="\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description="What a token costs.")
    parser.add_argument("--quick", action="store_true", help="in about a minute")
    parser.add_argument("--smoke", action="store_true", help="only see that everything works")
    parser.add_argument("--only", type=_names(SCENARIOS), help="scenarios, with commas")
    parser.add_argument("--targets", type=_names(TARGETS), help="targets, with commas")
    parser.add_argument("--nice", type=int, default=0, help="priority; below 0 needs root")
    parser.add_argument("--json", type=Path, default=_RESULTS, help="where the results go")
    parser.add_argument("--show", action="store_true", help="do not measure, show the results")
    parser.add_argument("--into", type=Path, help="put the tables into this document, too")
    return parser


def _names(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if unknown := set(names) - set(known):
            message = f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}"
            raise argparse.ArgumentTypeError(message)
        return names

    return parse


if __name__ == "__main__":
    main()
