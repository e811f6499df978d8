"""The library's rooms: which may import which, what may be imported before torch or Slicer exist, how large a room is.

What does not hold yet is listed by name. A list may only become shorter: an entry that is no longer needed fails.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIB = ROOT / "CarotidLandmark" / "CarotidLandmarkLib"

# room or file -> the rooms and files of the library that it may import; what is not named here may not exist
ARROWS = {
    "errors": set(),
    "files": {"errors"},
    "memory": set(),
    "documents": {"errors"},
    "landmarks": set(),
    "geometry": {"landmarks"},
    "detection": {"errors", "documents", "landmarks"},
    "markups": {"errors", "files", "documents", "landmarks"},
    "bundle": {"errors", "files", "documents", "landmarks", "detection", "uncertainty"},
    "uncertainty": {"errors", "detection"},
    "quality": {"detection", "landmarks", "uncertainty"},
    "volume": {"errors", "files", "geometry", "detection"},
    "nets": {"bundle", "landmarks", "uncertainty", "volume"},
    "detector": {"errors", "bundle", "detection", "nets", "quality", "uncertainty", "volume"},
    "work": {"errors", "memory"},
    "dataset": {"errors", "files", "documents", "landmarks", "geometry", "detection", "markups", "volume", "bundle"},
    "report": {"errors", "files", "documents", "landmarks", "detection", "markups", "volume", "dataset"},
    "scans": {"errors", "files", "documents", "detection", "report", "volume", "dataset", "work"},
    "vessels": {"errors", "geometry", "landmarks", "volume"},
    "exchange": {
        "errors", "files", "documents", "landmarks", "geometry", "detection", "markups", "volume", "dataset", "vessels",
    },
    "job": {"errors", "detection"},
    "job.worker": {"errors", "files", "bundle", "detection", "detector", "memory", "volume"},  # the child
    "scene": {"errors", "files", "landmarks", "geometry", "detection", "volume"},
    "panel": {
        "errors", "files", "bundle", "dataset", "detection", "exchange", "job", "landmarks", "markups", "scene",
        "uncertainty", "volume",
    },
    "cli": {
        "errors", "files", "memory", "bundle", "dataset", "detection", "detector", "exchange", "markups",
        "report", "scans", "scene", "uncertainty", "vessels", "volume", "work",
    },
}  # fmt: skip

BEFORE_TORCH_AND_SLICER = (
    "errors", "files", "documents", "landmarks", "geometry", "bundle", "detection", "markups", "uncertainty", "quality",
    "volume", "dataset", "vessels", "exchange", "job", "work", "cli",
)  # fmt: skip
NOT_THERE = (
    "torch", "safetensors", "lightning", "slicer", "vtk", "qt", "SimpleITK", "matplotlib", "jinja2", "PIL",
    "dask", "distributed",
)  # fmt: skip

# Packages that one can do without: looked for where they are needed.
OPTIONAL = ("PyTorchUtils", "SimpleITK", "safetensors", "filelock", "dask", "distributed", "highdicom")
LATE_IMPORTS = {f"job/worker.py: ..{name}" for name in ("bundle", "detection", "detector", "memory", "volume")}
PAST_THE_DOOR = {
    "report.agreement imports dataset.agreement",  # numbers, which know nothing of a dataset
    "panel.logic imports scene.review",
    "panel.review imports scene.review",
}
SOURCES = ("CarotidLandmark", "Training", "Testing", "benchmarks")
LARGEST_ROOM, LONGEST_FILE = 12, 400


class Import(NamedTuple):
    importer: str  # dotted, inside the library: "dataset.check"
    text: str  # as it is written: "..volume"
    imported: str | None  # dotted, inside the library; None for another package
    late: bool  # inside a function


def modules() -> list[Path]:
    return sorted(LIB.rglob("*.py"))


def sources() -> list[Path]:
    """Every file of Python in the repository, relative to its root."""
    return [path.relative_to(ROOT) for top in SOURCES for path in sorted((ROOT / top).rglob("*.py"))]


def dotted(path: Path) -> str:
    parts = path.relative_to(LIB).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file but those for type checkers."""
    package = [] if path.parent == LIB else list(path.relative_to(LIB).parent.parts)

    def walk(node: ast.AST, late: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                yield from (Import(dotted(path), alias.name, None, late) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield from of(child, late)
            yield from walk(child, late or isinstance(child, (ast.FunctionDef, ast.Lambda)))

    def of(node: ast.ImportFrom, late: bool) -> Iterator[Import]:
        if not node.level:
            yield Import(dotted(path), node.module or "", None, late)
            return
        base = package[: len(package) - node.level + 1] + (node.module or "").split(".") * bool(node.module)
        text = "." * node.level + (node.module or "")
        for alias in node.names:
            inner = ".".join([*base, alias.name])
            is_module = (LIB / Path(*inner.split("."))).is_dir() or (LIB / f"{inner.replace('.', '/')}.py").is_file()
            if base or is_module:  # `from . import __version__` is no arrow
                yield Import(dotted(path), text or alias.name, inner if is_module else ".".join(base), late)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False)


def room(module: str) -> str:
    first = module.split(".")[0]
    return module if module in ARROWS else first


def all_imports() -> list[Import]:
    return [each for path in modules() for each in imports(path)]


def test_rooms_import_only_what_the_plan_allows():
    wrong = {
        f"{each.importer} imports {each.imported}"
        for each in all_imports()
        if each.imported
        and room(each.imported).split(".")[0] != room(each.importer).split(".")[0]
        and room(each.imported) not in ARROWS[room(each.importer)]
    }
    assert wrong == set()


def test_the_plan_has_no_arrow_that_nobody_takes():
    taken = {(room(each.importer), room(each.imported)) for each in all_imports() if each.imported}
    assert {(start, end) for start, ends in ARROWS.items() for end in ends} - taken == set()


def test_a_room_is_entered_by_its_door():
    wrong = {
        f"{each.importer} imports {each.imported}"
        for each in all_imports()
        if each.imported and "." in each.imported and each.imported.split(".")[0] != each.importer.split(".")[0]
    }
    assert wrong == PAST_THE_DOOR


def test_every_module_is_in_the_plan_and_the_plan_names_nothing_else():
    assert {room(dotted(path)) for path in modules() if dotted(path)} == set(ARROWS)


def test_the_arrows_of_the_plan_run_one_way():
    TopologicalSorter(ARROWS).prepare()  # raises CycleError


def test_no_two_modules_import_each_other_round_any_corner():
    graph: dict[str, set[str]] = {}
    packages = {dotted(path) for path in modules() if path.name == "__init__.py"}
    for each in all_imports():
        # inside its own room a module imports siblings: the room's door does not count
        inside = each.imported in packages and each.importer.startswith(f"{each.imported}.")
        late = f"{each.importer.replace('.', '/')}.py: {each.text}" in LATE_IMPORTS
        if each.imported and not inside and not late:
            graph.setdefault(each.importer, set()).add(each.imported)
    TopologicalSorter(graph).prepare()


def test_imports_stand_at_the_top_but_in_the_commands_and_for_optional_packages():
    late = {
        f"{each.importer.replace('.', '/')}.py: {each.text}"
        for each in all_imports()
        if each.late and not each.importer.startswith("cli") and each.text.split(".")[0] not in OPTIONAL
    }
    assert late == LATE_IMPORTS


@pytest.mark.parametrize("name", BEFORE_TORCH_AND_SLICER)
def test_a_room_can_be_entered_where_neither_torch_nor_slicer_is_installed(name):
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {NOT_THERE}: raise ModuleNotFoundError(f'No module named {{name!r}}')\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"import CarotidLandmarkLib.{name}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=LIB.parent)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["scene"])
def test_a_room_of_slicer_s_can_be_entered_where_torch_is_not_installed(name):
    pytest.importorskip("slicer")
    program = f"import sys; sys.modules['torch'] = None; sys.modules['qt'] = None; import CarotidLandmarkLib.{name}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=LIB.parent)
    assert done.returncode == 0, done.stderr


def test_a_folder_holds_twelve_modules_at_most_anywhere():
    held = Counter(path.parent for path in sources() if path.name != "__init__.py")
    assert len(held) > 30
    assert {folder.as_posix(): count for folder, count in held.items() if count > LARGEST_ROOM} == {}


def test_no_file_is_longer_than_four_hundred_lines_anywhere():
    long = [path for path in sources() if len((ROOT / path).read_text(encoding="utf-8").splitlines()) > LONGEST_FILE]
    assert long == []
