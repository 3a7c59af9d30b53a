"""The rows as a table in Markdown, for `docs/reference/faults.md`."""

from streamsvc.events import Usage
from support.faults import FAULTS
from support.faults.row import Fault


def table() -> str:
    """Return one line per row."""
    lines = [
        "| what the provider does | fallback | what streamsvc does | calls | the viewer gets | `done` |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for fault in FAULTS:
        has_fallback = "no" if fault.fallback is None else "yes"
        cells = (
            fault.words,
            has_fallback,
            fault.conduct,
            _calls(fault),
            _events(fault),
            _end(fault),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _calls(fault: Fault) -> str:
    primary, fallback = fault.calls
    return f"{primary} + {fallback}" if fault.fallback is not None else str(primary)


def _events(fault: Fault) -> str:
    kinds = (kind for kind, *_ in fault.events)
    return ", ".join(kind if kind == "text" else f"`{kind}`" for kind in kinds) or "nothing"


def _end(fault: Fault) -> str:
    end = fault.end
    usage = "usage" if isinstance(end.usage, Usage) else f"{end.usage or 'no'} usage"
    match end.status:
        case "completed":
            return f"`completed` by the {end.provider}, {usage}"
        case "incomplete":
            error = f", error `{end.error}`" if end.error else ""
            return f"`incomplete`, `{end.finish_reason}`{error}, {usage}"
        case _:
            return f"`failed`, `{end.outcome}`, `{end.error}`, {usage}"
