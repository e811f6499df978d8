"""What the columns of a table say: whether a point is there, and which of several coordinates are meant."""

from __future__ import annotations

import pytest

from .conftest import LEFT, RIGHT
from .test_import_points import L, R, csv, points


def test_a_status_that_nobody_knows_is_no_point(run, dataset, tmp_path):
    for word in ("fehlt", "not seen"):
        table = f"case,label,x,y,z,status\nc1,left,30,40,50,detected\nc1,right,-30.25,44.5,52.125,{word}\n"
        code, _, err = run("import", dataset.path, csv(tmp_path / "t.csv", table), "--annotator", "anna")
        assert code == 2 and f"t.csv has '{word}' in its column status; write one of missing" in err[0]
    assert not dataset.case("c1").has_annotation("anna")


ANSWERS = {
    "present,0": "case,label,x,y,z,present\nc1,left,30,40,50,1\nc1,right,0,0,0,0\n",
    "missing,yes": "case,label,x,y,z,missing\nc1,left,30,40,50,no\nc1,right,0,0,0,Yes\n",
    "right_found": "case,left_x,left_y,left_z,right_x,right_y,right_z,left_found,right_found\n"
    "c1,30,40,50,0,0,0,TRUE,FALSE\n",
    "json": '[{"label": "left", "position": [30, 40, 50], "present": true},'
    ' {"label": "right", "position": [0, 0, 0], "present": false}]',
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_column_that_says_no_is_no_point(run, dataset, tmp_path, name):
    """A table's zeros for a landmark that is not there became a point at zero."""
    table = csv(tmp_path / f"c1.{'json' if name == 'json' else 'csv'}", ANSWERS[name])
    code, _, err = run("import", dataset.path, table, "--annotator", "anna", "--frame", "LPS")
    assert code == 0, err
    assert points(dataset) == {LEFT: L, RIGHT: None}


def test_two_sets_of_coordinates_in_one_table_are_asked_about(run, dataset, tmp_path):
    """Voxels beside millimetres: the first were taken."""
    table = csv(
        tmp_path / "t.csv",
        "case,label,x,y,z,x_mm,y_mm,z_mm\nc1,left,1,2,3,30,40,50\nc1,right,4,5,6,-30.25,44.5,52.125\n",
    )
    how = ("--annotator", "anna", "--frame", "LPS")
    code, _, err = run("import", dataset.path, table, *how)
    assert code == 2 and "t.csv has two sets of coordinates (x and x_mm); say with --columns which to take" in err[0]
    assert run("import", dataset.path, table, *how, "--columns", "x=x_mm,y=y_mm,z=z_mm")[0] == 0
    assert points(dataset) == {LEFT: L, RIGHT: R}


def test_a_row_that_begins_with_a_number_sign_is_asked_about(run, dataset, tmp_path):
    """A label (``#1 left``), or a row that somebody has taken out; it was left out without a word."""
    table = csv(tmp_path / "c1.csv", "label,x,y,z\n# of Anna\nleft,30,40,50\n#2 right,-30.25,44.5,52.125\n")
    code, _, err = run("import", dataset.path, table, "--annotator", "anna", "--frame", "LPS")
    assert code == 2 and "c1.csv has a line that begins with # and may be a point: #2 right,-30.25" in err[0]
    assert not dataset.case("c1").has_annotation("anna")
