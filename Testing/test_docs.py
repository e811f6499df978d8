"""The words of the house: links lead somewhere, commands exist, the library's rooms are in docs/ARCHITECTURE.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from carotid_training import cli as training
from CarotidLandmarkLib.cli import app
from CarotidLandmarkLib.dataset.predict import TABLE_COLUMNS
from CarotidLandmarkLib.detection import ConfidenceRegion, LandmarkResult
from CarotidLandmarkLib.report.summary import SUMMARY_COLUMNS

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("docs", "Resources", "Training", "Testing", "benchmarks", "CarotidLandmark", ".github")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)")
TRAINING_COMMANDS = {"fit", "finetune", "curve", "evaluate", "export", "synthesize", "backgrounds", "table1"}


def prose(page: Path) -> str:
    """A page without its code, in which brackets and '#' mean other things."""
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "`code`", text)


def anchors(page: Path) -> set[str]:
    """What a link to a heading of this page may be called, by GitHub's rule."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ +(.*?) *$", text, flags=re.M)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).replace(" ", "-") for heading in headings
    }


def links(page: Path) -> Iterator[str]:
    yield from (target for target in LINK.findall(prose(page)) if not re.match(r"[a-z]+:", target))


def commands(program: str) -> set[str]:
    """Words that a page puts after a program's name, in code."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    return set(re.findall(rf"(?:^ *|`){program} ([a-z][a-z0-9]*)\b", text, flags=re.M))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_link_leads_to_a_file_and_a_heading_that_are_there(page):
    broken = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_a_file_or_a_module_that_a_page_names_is_there():
    lacking, count = [], 0
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # tells of what is gone, too
            continue
        text = page.read_text(encoding="utf-8")
        files = re.findall(rf"(?<![\w/.])(?:{'|'.join(FOLDERS)})/[\w./-]+\.(?:py|sh|md|yaml|csv|json|png|jpg)\b", text)
        modules = re.findall(r"python -m ((?:benchmarks|Testing)\.[a-z0-9_.]+\w)", text)
        files += [name.replace(".", "/") + ".py" for name in modules]
        count += len(files)
        lacking += [f"{page.name}: {name}" for name in files if not (ROOT / name).exists()]
    assert lacking == [] and count > 60


PLACES = (
    "CarotidLandmark/CarotidLandmarkLib",
    "Training/carotid_training",
    "CarotidLandmark",
    "Testing",
    "benchmarks",
    "",
)


def test_a_word_of_the_code_stands_in_the_file_that_a_page_names_for_it():
    wrong, count = [], 0
    for page in PAGES:
        for name, word in re.findall(r"`([\w/]+\.py)` \(`(\w+)", page.read_text(encoding="utf-8")):
            files = [ROOT / place / name for place in PLACES if (ROOT / place / name).is_file()]
            count += 1
            if not any(re.search(rf"\b{word}\b", file.read_text(encoding="utf-8")) for file in files):
                wrong.append(f"{page.name}: {name} ({word})")
    assert wrong == [] and count > 2


def test_a_link_that_leads_nowhere_would_be_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        '# Here\n[a](b.md) ![c](d.png "e") [f [g]](h.md#i) [j](https://k) `[l](m.md)`\n```\n[n](o.md)\n```\n'
    )
    assert list(links(page)) == ["b.md", "d.png", "h.md#i"]


def test_every_page_of_docs_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            waiting += [(page.parent / target.partition("#")[0]).resolve() for target in links(page)]
    assert set((ROOT / "docs").rglob("*.md")) - reached == set()


def test_the_pages_name_only_commands_that_exist_and_the_readme_names_all():
    names = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    assert commands("carotid-landmark") <= names
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {name for name in names if not re.search(rf"carotid-landmark {name}\b|`{name}`", readme)} == set()


def test_the_pages_name_only_commands_of_training_that_exist():
    source = Path(training.__file__).read_text(encoding="utf-8")
    assert commands("carotid-train") <= TRAINING_COMMANDS
    assert {name for name in TRAINING_COMMANDS if f'"{name}"' not in source} == set()


def test_every_column_of_the_tables_and_every_number_of_a_landmark_is_explained():
    page = (ROOT / "docs" / "using" / "detect.md").read_text(encoding="utf-8").partition("## Columns and keys")[2]
    keys = {each.name for kind in (LandmarkResult, ConfidenceRegion) for each in fields(kind)} - {"label", "confidence"}
    words = set(re.findall(r"`(?:\w+\.)?(\w+)`", page.partition("\n## ")[0]))
    assert {*SUMMARY_COLUMNS, *TABLE_COLUMNS, *keys} - words == set()


def test_every_room_of_the_library_is_in_the_tree_of_the_architecture():
    tree = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    library = ROOT / "CarotidLandmark" / "CarotidLandmarkLib"
    rooms = {door.parent.name for door in library.glob("*/__init__.py")}
    files = {path.name for path in library.glob("*.py") if path.name != "__init__.py"}
    assert {f"{room}/" for room in rooms if f"  {room}/ " not in tree} | {
        f for f in files if f" {f} " not in tree
    } == set()


def test_the_workflow_tests_the_pythons_that_make_accepts_and_calls_make():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert any("make test" in step.get("run", "") for step in job["steps"])
