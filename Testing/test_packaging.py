"""What is shipped: the wheel, the Slicer extension's file lists, the Extensions Index entry, the pinned packages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "CarotidLandmark"
LIB = MODULE / "CarotidLandmarkLib"
INDEX_ENTRY = ROOT / "Resources" / "CarotidLandmark.json"
NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".*")


def cmake_list(name: str) -> list[str]:
    text = (MODULE / "CMakeLists.txt").read_text()
    match = re.search(rf"set\({name}\s+([^)]*)\)", text)
    assert match, f"{name} is not in CarotidLandmark/CMakeLists.txt"
    return match[1].split()


def cmake_value(name: str) -> str:
    """A literal that the Extensions Index reads with the same pattern."""
    match = re.search(rf'set\s*\({name}\s*"([^"]+)"[ ]*\)', (ROOT / "CMakeLists.txt").read_text())
    assert match, f"{name} is not in CMakeLists.txt"
    return match[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """A wheel built from a copy of the tree, so that nothing is built into it."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("CarotidLandmark", "Training", "Resources"):
        shutil.copytree(ROOT / name, tree / name, ignore=NOT_SHIPPED)
    for name in ("pyproject.toml", "README.md", "LICENSE.txt"):
        shutil.copy(ROOT / name, tree)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", "dist", "."]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    (built,) = (tree / "dist").glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_the_library_the_template_the_models_and_the_sample(wheel):
    shipped = set(wheel.namelist())
    wanted = [path.relative_to(MODULE) for path in LIB.rglob("*") if path.suffix in (".py", ".j2")]
    for folder in ("Models/*/*", "SampleData/*"):
        data = [path for path in (ROOT / "Resources").glob(folder) if path.is_file()]
        wanted += [Path("CarotidLandmarkLib") / path.relative_to(ROOT) for path in data]
    assert {path.as_posix() for path in wanted} <= shipped
    training = ROOT / "Training" / "carotid_training"
    assert {path.relative_to(ROOT / "Training").as_posix() for path in training.rglob("*.py")} <= shipped
    training = ROOT / "Training"
    configs = {path.relative_to(training).as_posix() for path in (training / "configs").rglob("*.yaml")}
    assert {f"carotid_training/{path}" for path in configs} <= shipped
    assert any(name.endswith("licenses/LICENSE.txt") for name in shipped)


def test_the_installed_wheel_finds_its_own_model_and_sample(wheel, tmp_path):
    wheel.extractall(tmp_path)
    program = (
        "from CarotidLandmarkLib.bundle import default_bundle, resources_directory\n"
        "print(resources_directory())\nprint(default_bundle().path)\n"
        "print(*resources_directory().glob('SampleData/*.truth.mrk.json'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    resources, model, truth = done.stdout.splitlines()
    assert Path(resources) == tmp_path / "CarotidLandmarkLib" / "Resources"
    assert Path(model).is_relative_to(resources)
    assert Path(truth).is_relative_to(resources)


def test_slicer_installs_every_file_of_the_library():
    listed = {name for name in cmake_list("MODULE_PYTHON_SCRIPTS") if name.startswith("CarotidLandmarkLib/")}
    assert listed == {path.relative_to(MODULE).as_posix() for path in LIB.rglob("*.py")}
    data = {path.relative_to(MODULE).as_posix() for path in LIB.rglob("*") if path.suffix not in ("", ".py", ".pyc")}
    assert data <= set(cmake_list("MODULE_PYTHON_RESOURCES"))


def test_slicer_installs_every_resource_of_the_module_and_lists_none_that_is_absent():
    resources = [path for path in (MODULE / "Resources").rglob("*") if path.is_file()]
    assert {path.relative_to(MODULE).as_posix() for path in resources} <= set(cmake_list("MODULE_PYTHON_RESOURCES"))
    for name in cmake_list("MODULE_PYTHON_SCRIPTS") + cmake_list("MODULE_PYTHON_RESOURCES"):
        assert (MODULE / name).is_file(), name


def test_the_extension_passes_the_index_s_own_checks():
    entry = json.loads(INDEX_ENTRY.read_text())
    allowed = {"$schema", "category", "scm_url", "scm_revision", "build_dependencies", "build_subdirectory", "tier"}
    assert {"$schema", "category", "scm_url"} <= set(entry) <= allowed
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.1.json#")
    assert re.search(r"project\s*\(\s*([^\s\)]+)", (ROOT / "CMakeLists.txt").read_text())[1] == INDEX_ENTRY.stem
    repository = entry["scm_url"].removesuffix(".git")
    assert repository.rpartition("/")[2].startswith("Slicer")
    assert entry["build_dependencies"] == cmake_value("EXTENSION_DEPENDS").split()
    assert cmake_value("EXTENSION_HOMEPAGE") == repository
    raw = repository.replace("github.com", "raw.githubusercontent.com") + f"/{entry['scm_revision']}/"
    assert (ROOT / cmake_value("EXTENSION_ICONURL").removeprefix(raw)).is_file()
    assert ";" not in cmake_value("EXTENSION_DESCRIPTION")  # CMake's list: what comes after it would be lost
    screenshots = cmake_value("EXTENSION_SCREENSHOTURLS").split()
    assert all(url.startswith(raw) and (ROOT / url.removeprefix(raw)).is_file() for url in screenshots)


def test_the_repository_stays_under_the_index_s_100_mb():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.splitlines()]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 100e6


def test_every_package_that_make_installs_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["train"] + extras["slicer"] + extras["cohort"] + extras["test"]
    names = {re.split(r"[\[<>=~! ]", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert names <= pinned
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
