"""Compares what the documents state with the code and with each other."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp
import pytest

import streamsvc

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "streamsvc"
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").glob("*.md")]
)
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )


# ---- The reading order


def test_guide_and_package_give_the_same_reading_order() -> None:
    guide = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    stated = guide.partition("read the code in this order")[2].partition("\n\n")[0]
    order = re.findall(r"`([\w/]+)`", stated)
    assert order == [
        module.replace(".", "/") for module in re.findall(r"`([\w.]+)`", streamsvc.__doc__ or "")
    ]
    lines = sum(
        (PACKAGE / f"{module}.py").read_text(encoding="utf-8").count("\n") for module in order
    )
    said = re.search(r"about ([\d,]+) lines", stated)
    assert said
    assert abs(int(said[1].replace(",", "")) - lines) < 200


# ---- The drawing of the rooms


def layers() -> list[set[str]]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    stack = contracts["tool"]["importlinter"]["contracts"][0]
    return [set(floor.split(" | ")) for floor in stack["layers"]]


def drawn() -> Mapping[str, set[str]]:
    graph = (
        ARCHITECTURE.partition("## The packages")[2].partition("flowchart TD")[2].partition("```")
    )
    arrows: dict[str, set[str]] = defaultdict(set)
    for room, below in re.findall(r"^ +(\w+) -.*> (\w+)$", graph[0], re.MULTILINE):
        arrows[room].add(below)
    return arrows


def imported() -> Mapping[str, set[str]]:
    graph = grimp.build_graph("streamsvc", cache_dir=None)
    rooms = set().union(*layers())  # import-linter reports a module that is not listed
    arrows: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules - {"streamsvc"}:
        room = module.split(".")[1]
        for other in graph.find_modules_directly_imported_by(module) - {"streamsvc"}:
            arrows[room].add(other.split(".")[1])
        arrows[room] &= rooms - {room}
    return {room: others for room, others in arrows.items() if room in rooms}


def below(room: str, arrows: Mapping[str, set[str]]) -> Iterator[str]:
    for other in arrows.get(room, ()):
        yield other
        yield from below(other, arrows)


def test_the_drawing_shows_the_rooms_of_the_contract() -> None:
    arrows = drawn()
    assert {*arrows}.union(*arrows.values()) == set().union(*layers())


def test_every_arrow_of_the_drawing_points_down() -> None:
    floor = {room: number for number, rooms in enumerate(layers()) for room in rooms}
    arrows = [(room, other) for room, others in drawn().items() for other in others]
    assert [(room, other) for room, other in arrows if floor[room] >= floor[other]] == []


def test_every_import_follows_the_arrows_of_the_drawing() -> None:
    arrows = drawn()
    missing = {
        (room, other)
        for room, others in imported().items()
        for other in others - {*below(room, arrows)}
    }
    assert missing == set()


def test_every_arrow_of_the_drawing_is_an_import() -> None:
    real, later = imported(), {("cli", it) for it in ("ask", "demo", "deploy", "doctor", "server")}
    arrows = {(room, other) for room, others in drawn().items() for other in others}
    assert {(room, other) for room, other in arrows if other not in real[room]} == later


def test_the_table_of_rooms_names_each_once() -> None:
    rows = ARCHITECTURE.partition("| package | what it contains |")[2].partition("\n\n")[0]
    rooms = [
        room
        for row in rows.splitlines()
        for room in re.findall(r"`(\w+)/?`", row.split("|")[1:2][0] if "|" in row else "")
    ]
    assert sorted(rooms) == sorted(set().union(*layers()))


# ---- Names and links


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    roots = (ROOT, PACKAGE, PACKAGE / "web" / "static")
    named = re.findall(r"`([\w./]+/[\w.]+\.(?:py|js|toml))`", prose(page))
    assert [file for file in named if not any((root / file).exists() for root in roots)] == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_has_a_target(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


SECOND_SENTENCE = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!^\d)[.!?][)\"]? +[A-Z`\[*]")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page_has_one_sentence_a_line(page: Path) -> None:
    """Tables, headings and quotations excepted; what is in backticks is one word."""
    lines = [line for line in prose(page).splitlines() if not line.startswith(("|", "#", ">"))]
    assert [line for line in lines if SECOND_SENTENCE.search(re.sub(r"`[^`]*`", "x", line))] == []
