"""TypeScript checks the playground's modules, which have types in comments, and the guide for React."""

import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from browser.guide import DOCS, FILES, save
from streamsvc.events import Event, PublicError, Usage

CLIENTS = Path(__file__).parent
TSC = CLIENTS / "node_modules" / ".bin" / "tsc"


@pytest.mark.node
def test_the_scripts_of_the_playground_are_type_correct() -> None:
    checked = subprocess.run([TSC, "-p", CLIENTS], capture_output=True, text=True, check=False)
    assert checked.stdout + checked.stderr == ""


@pytest.mark.node
def test_the_component_of_the_guide_is_type_correct(tmp_path: Path) -> None:
    save(tmp_path, "events.ts", "answer.tsx", "main.tsx", "page.tsx", service="/ai")
    (tmp_path / "node_modules").symlink_to(CLIENTS / "node_modules")
    options = "--noEmit --strict --jsx react-jsx --module esnext --moduleResolution bundler"
    assert options in (DOCS / "guides" / "react.md").read_text()
    checked = subprocess.run(
        [TSC, *options.split(), "main.tsx", "page.tsx"],  # Vite's entry, and Next's
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.stdout + checked.stderr == ""


def fields(text: str) -> set[str]:
    """Return the names of a TypeScript type's own fields; optional ones end in a question mark."""
    flat = re.sub(r"(?<=: )\{.*?\}", "", re.sub(r"//.*", "", text))
    return set(re.findall(r"(\w+\??):", flat)) - {"type"}


def fields_of(kind: type[msgspec.Struct]) -> set[str]:
    """Return the same of a struct; what it may leave out is optional."""
    can_omit = kind.__struct_config__.omit_defaults
    return {
        it.encode_name + "?" * ((can_omit and not it.required) or it.default is msgspec.UNSET)
        for it in msgspec.structs.fields(kind)
    }


def test_the_types_of_the_guide_are_the_events() -> None:
    code = FILES["events.ts"]
    shared = fields(code.partition("type Parameters = {")[2].partition("};")[0])
    named = dict(
        re.findall(r"export type (Usage|Done) = \{(.*?)^\};", code, re.MULTILINE | re.DOTALL)
    )
    described: dict[str, set[str]] = defaultdict(set)
    union = code.partition("export type AnswerEvent =")[2]
    for kinds, rest in re.findall(r"\| \{ type: ([^;]+);(.*?)(?=\n  \|)", union, re.DOTALL):
        for kind in re.findall(r'"(\w+)"', kinds):
            described[kind] = fields(rest) | (shared if "& Parameters" in rest else set())
    described["done"] = fields(named["Done"])
    events = {kind.__struct_config__.tag: fields_of(kind) for kind in get_args(Event)}
    assert described == events
    assert fields(named["Usage"]) == fields_of(Usage)
    error = named["Done"].partition("error: {")[2].partition("}")[0]
    assert fields(error) == fields_of(PublicError)
