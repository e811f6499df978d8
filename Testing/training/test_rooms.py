"""Training's rooms: which may import which. (The library's: Testing/test_architecture.py.)"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAINING = ROOT / "Training" / "carotid_training"
OPTIONAL = ("dask", "distributed")  # packages that one can do without

# Room or file -> the rooms and files of training that it may import; what is not named here may not exist.
ARROWS = {
    "seeds": set(),
    "records": set(),
    "tensors": set(),
    "pages": set(),
    "processes": set(),
    "necks.dice": set(),
    "necks.neck": set(),
    "necks.solids": {"necks.neck"},
    "necks.vessels": {"necks.dice", "necks.neck", "necks.solids"},
    "necks.sculpted": {"necks.dice", "necks.neck", "necks.vessels"},
    "necks.tissue": {"processes", "necks.dice", "necks.neck", "necks.solids", "necks.vessels"},
    "necks.styles": {"seeds", "necks.neck", "necks.sculpted", "necks.tissue"},
    "scans": {"seeds", "necks.dice", "necks.neck", "necks.styles"},
    "cohorts": {"seeds", "records", "pages", "processes", "necks.neck", "necks.styles", "scans"},
    "batches": {"seeds", "records", "tensors", "necks.neck", "necks.styles", "scans"},
    "evaluation": {"records", "pages"},
    "training": {"seeds", "records", "tensors", "pages", "batches", "evaluation"},
    "release": {"records", "pages", "necks.styles", "batches", "training", "evaluation"},
    "reproduction": {
        *(
            "records",
            "tensors",
            "pages",
            "processes",
            "necks.styles",
            "cohorts",
            "batches",
            "training",
            "evaluation",
            "release",
        ),
    },
    "cli": set(),  # it imports a command's module by name, when it is called
    "__main__": {"cli"},
}


class Import(NamedTuple):
    importer: str  # dotted, inside carotid_training: "scans.sample"
    imported: str  # likewise, or the name of another package
    late: bool  # inside a function
    own: bool  # of carotid_training


def modules() -> list[Path]:
    return sorted(path for path in TRAINING.rglob("*.py") if path.name != "__init__.py")


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(TRAINING).with_suffix("").parts)


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file but those for type checkers."""
    package, own = list(path.relative_to(TRAINING).parent.parts), dotted(path)

    def walk(node: ast.AST, late: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                yield from (Import(own, alias.name, late, False) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and not child.level:
                yield Import(own, child.module or "", late, False)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] + (child.module or "").split(".") * bool(child.module)
                for alias in child.names:
                    inner = ".".join([*base, alias.name])
                    module = (TRAINING / f"{inner.replace('.', '/')}.py").is_file()
                    yield Import(own, inner if module else ".".join(base), late, True)
            yield from walk(child, late or isinstance(child, (ast.FunctionDef, ast.Lambda)))

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False)


def room(module: str) -> str:
    first, *inner = module.split(".")
    return f"{first}.{inner[0]}" if first == "necks" else first


def every_import() -> list[Import]:
    return [each for path in modules() for each in imports(path)]


def test_rooms_import_only_what_the_plan_allows():
    wrong = {
        f"{each.importer} imports {each.imported}"
        for each in every_import()
        if each.own
        and room(each.imported) != room(each.importer)
        and room(each.imported) not in ARROWS[room(each.importer)]
    }
    assert wrong == set()


def test_the_plan_has_no_arrow_that_nobody_takes():
    taken = {(room(each.importer), room(each.imported)) for each in every_import() if each.own}
    assert {(start, end) for start, ends in ARROWS.items() for end in ends} <= taken


def test_every_module_is_in_the_plan_and_the_plan_names_nothing_else():
    assert {room(dotted(path)) for path in modules()} == set(ARROWS)


def test_the_arrows_of_the_plan_run_one_way():
    TopologicalSorter(ARROWS).prepare()  # raises CycleError


def test_no_two_modules_import_each_other_round_any_corner():
    graph: dict[str, set[str]] = {}
    for each in every_import():
        if each.own:
            graph.setdefault(each.importer, set()).add(each.imported)
    TopologicalSorter(graph).prepare()


def test_what_answers_for_table_1_imports_no_trainer():
    """It is a process of its own for each row, and would begin each time with what it does not need."""
    everything, reached, todo = every_import(), set(), {"reproduction.predict"}
    while todo:
        reached |= todo
        todo = {each.imported for each in everything if each.own and each.importer in reached} - reached
    assert {each.importer for each in everything if each.importer in reached and "lightning" in each.imported} == set()


def test_imports_stand_at_the_top_but_for_optional_packages():
    late = {f"{each.importer}: {each.imported}" for each in every_import() if each.late}
    assert {name for name in late if name.split(": ")[1].split(".")[0] not in OPTIONAL} == set()


@pytest.mark.parametrize("folder", ["CarotidLandmark", "Resources"])
def test_what_is_shipped_to_slicer_knows_nothing_of_training(folder):
    naming = [path for path in (ROOT / folder).rglob("*.py") if "carotid_training" in path.read_text(encoding="utf-8")]
    assert naming == []


def test_a_folder_of_training_is_named_in_pyproject():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for folder in {path.parent for path in modules()}:
        name = ".".join(("carotid_training", *folder.relative_to(TRAINING).parts))
        assert f'"{name}",' in text, name
