"""What spreadsheets put around a table: empty rows and cells, titles, separators behind comments."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import LEFT, RIGHT
from .test_import_points import L, R, csv, fcsv, points

ROWS = (("case", "label", "x", "y", "z"), ("c1", "left", "30", "40", "50"), ("c1", "right", "-30.25", "44.5", "52.125"))
LPS = ("--annotator", "anna", "--frame", "LPS", "--replace")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    separator=st.sampled_from(",;\t"),
    blank=st.sampled_from(["", " ", '""']),
    cells=st.integers(1, 8),
    places=st.lists(st.integers(0, 3), max_size=4),
    trailing=st.integers(0, 3),
)
def test_rows_and_cells_that_are_blank_say_nothing(run, dataset, tmp_path, separator, blank, cells, places, trailing):
    """Excel wrote ``;;;;`` below a table, and it was refused."""
    lines = [separator.join([*row, *[""] * trailing]) for row in ROWS]
    for place in places:
        lines.insert(min(place, len(lines)), separator.join([blank] * cells))
    code, _, err = run("import", dataset.path, csv(tmp_path / "t.csv", "\n".join(lines)), *LPS)
    assert code == 0, (lines, err)
    assert points(dataset) == {LEFT: L, RIGHT: R}


def test_records_in_which_nothing_stands_say_nothing(run, dataset, tmp_path):
    table = (
        '[{"case": "c1", "label": "left", "point": [30, 40, 50]}, {"case": null, "label": "", "point": null}, {},'
        ' {"case": "c1", "label": "right", "point": [-30.25, 44.5, 52.125]}]'
    )
    assert run("import", dataset.path, csv(tmp_path / "t.json", table), *LPS)[0] == 0
    assert points(dataset) == {LEFT: L, RIGHT: R}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("trailing", [0, 4])
@pytest.mark.parametrize("between", ["", "\n"])
def test_a_title_above_the_header_is_named(run, dataset, tmp_path, separator, trailing, between):
    title = "Carotid study 2024" + separator * trailing
    lines = "\n".join(separator.join(row) for row in ROWS)
    code, _, err = run("import", dataset.path, csv(tmp_path / "t.csv", f"{title}\n{between}{lines}"), *LPS)
    assert code == 2
    assert err[0] == "t.csv begins with a line that is no header (Carotid study 2024); remove it."


def test_a_title_of_several_cells_is_named_too(run, dataset, tmp_path):
    lines = "\n".join(",".join(row) for row in ROWS)
    code, _, err = run("import", dataset.path, csv(tmp_path / "t.csv", f"Study, 2024\n{lines}"), *LPS)
    assert code == 2 and "more cells than columns (Study, 2024); remove that line if it is no header" in err[0]


@pytest.mark.parametrize("comment", ["# of Anna", "# frame: LPS", "#"])
@pytest.mark.parametrize("below", [False, True])
def test_separators_behind_a_comment_are_no_cells(run, dataset, tmp_path, comment, below):
    lines = [";".join(row) for row in ROWS]
    lines.insert(len(lines) * below, comment + ";;;;")
    assert run("import", dataset.path, csv(tmp_path / "t.csv", "\n".join(lines)), *LPS)[0] == 0
    assert points(dataset) == {LEFT: L, RIGHT: R}


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("version, frame", [("4.10", "0"), ("4.11", "LPS"), ("5.0", "RAS")])
@pytest.mark.parametrize("suffix", [".fcsv", ".csv"])
def test_a_fcsv_that_a_spreadsheet_has_saved_is_read_in_its_own_frame(
    run, dataset, tmp_path, separator, version, frame, suffix
):
    """``# CoordinateSystem = LPS,,,,,`` was a system that Slicer does not know."""
    file = fcsv(tmp_path / "c1.fcsv", version, frame).rename(tmp_path / f"c1{suffix}")
    lines = [line.replace(",", separator) for line in file.read_text().splitlines()]
    lines = [line + separator * (13 - line.count(separator)) for line in lines] + [separator * 13]
    file.write_text("\n".join(lines))
    code, _, err = run("import", dataset.path, file, "--annotator", "anna")
    assert code == 0, err
    assert points(dataset) == {LEFT: L, RIGHT: R}
