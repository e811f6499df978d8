"""What the columns of a table say: whether a point is there, and which of several coordinates are meant."""

from __future__ import annotations

import pytest
from CarotidLandmarkLib.dataset import Dataset

from .conftest import LEFT, RIGHT, block
from .test_import_points import L, R, csv, fcsv, points


def test_a_status_that_nobody_knows_is_no_point(run, dataset, tmp_path):
    for word in ("fehlt", "not seen"):
        table = f"case,label,x,y,z,status\nc1,left,30,40,50,detected\nc1,right,-30.25,44.5,52.125,{word}\n"
        code, _, err = run("import", dataset.path, csv(tmp_path / "t.csv", table), "--annotator", "anna")
        assert code == 2 and f"t.csv has '{word}' in its column status; write one of missing" in err[0]
    assert not dataset.case("c1").has_annotation("anna")


UNITS = (
    "cm", "centimeters", "centimetres", "m", "meters", "metre", "px", "pixel", "pixels", "in", "inch", "inches", "um",
    "µm", "\u03bcm", "microns", "micrometers", "nm", "\u339d",
)  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("columns", ["{axis} ({unit})", "{axis}_{unit}", "{axis} in {unit}", "left {axis} {unit}"])
def test_columns_of_another_unit_than_mm_are_refused_in_whatever_words(run, dataset, tmp_path, unit, columns):
    """Pixels and centimeters were read as millimetres, or became a point of that name."""
    names = [columns.format(axis=axis, unit=unit) for axis in "xyz"]
    table = csv(tmp_path / "c1.csv", f"label,{','.join(names)}\nleft,3,4,5\nright,-3,4,5\n")
    say = ",".join(f"{axis}={name}" for axis, name in zip("xyz", names, strict=True))
    for said in ((), ("--columns", say)):
        code, _, err = run("import", dataset.path, table, "--annotator", "anna", "--frame", "LPS", *said)
        assert code == 2 and "c1.csv has coordinates in " in err[0] and "; give them in mm, or say --columns" in err[0]


@pytest.mark.parametrize("columns", ["{axis} in mm", "{axis} in LPS", "{axis} (mm) in the scan", "{axis}"])
def test_in_is_no_inch_where_a_unit_or_a_place_follows(run, dataset, tmp_path, columns):
    names = ",".join(columns.format(axis=axis) for axis in "xyz")
    table = csv(tmp_path / "c1.csv", f"label,{names}\nleft,30,40,50\nright,-30.25,44.5,52.125\n")
    say = ",".join(f"{axis}={columns.format(axis=axis)}" for axis in "xyz")
    code, _, err = run("import", dataset.path, table, "--annotator", "anna", "--frame", "LPS", "--columns", say)
    assert code == 0, err
    assert points(dataset) == {LEFT: L, RIGHT: R}


@pytest.mark.parametrize("comment", ["# fiducials of study 7", "#fiducial", "# points"])
@pytest.mark.parametrize("header", ["# label,x,y,z", "label,x,y,z"])
def test_a_comment_with_the_word_fiducial_makes_no_fcsv_of_a_table(run, dataset, tmp_path, comment, header):
    """Its frame was not looked at, and its points were taken in RAS."""
    rows = "left,30,40,50\nright,-30.25,44.5,52.125\n"
    table = csv(tmp_path / "c1.csv", f"{comment}\n# frame: LPS\n{header}\n{rows}")
    assert run("import", dataset.path, table, "--annotator", "anna") == (0, "c1: c1.csv\n", [])
    assert points(dataset) == {LEFT: L, RIGHT: R}


@pytest.mark.parametrize("version", ["4.10", "5.0"])
def test_what_slicer_wrote_is_a_fcsv_whatever_it_is_called(run, dataset, tmp_path, version):
    file = fcsv(tmp_path / "c1.fcsv", version, "RAS").rename(tmp_path / "c1.csv")
    assert run("import", dataset.path, file, "--annotator", "anna")[0] == 0
    assert points(dataset) == {LEFT: L, RIGHT: R}


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


NOWHERE = {
    "long": "case,label,x,y,z,status\nc1,left,,,,missing\nc1,right,,,,absent\n",
    "long, zeros": "case,label,x,y,z,present\nc1,left,0,0,0,0\nc1,right,0,0,0,0\n",
    "wide": "case,left_x,left_y,left_z,left_present,right_x,right_y,right_z,right_present\nc1,,,,0,,,,0\n",
    "voxels": "case,label,i,j,k,status\nc1,left,,,,missing\nc1,right,,,,missing\n",
    "no columns": "case,label,status\nc1,left,missing\nc1,right,missing\n",
    "json": '[{"label": "left", "position": null, "present": false}, {"label": "right", "present": false}]',
    "json without positions": '[{"label": "left", "status": "missing"}, {"label": "right", "status": "missing"}]',
}


@pytest.mark.parametrize("name", NOWHERE)
def test_of_points_that_are_all_missing_no_frame_is_asked(run, tmp_path, name):
    made = Dataset.create(tmp_path / "around zero", (LEFT, RIGHT))
    made.add_case(block((-80, -62, -62)), "c1")
    table = csv(tmp_path / f"c1.{'json' if 'json' in name else 'csv'}", NOWHERE[name])
    for annotator, frame in (("anna", ()), ("ben", ("--frame", "RAS"))):
        code, _, err = run("import", made.path, table, "--annotator", annotator, *(() if name == "voxels" else frame))
        assert (code, err) == (0, [])
        assert points(made, annotator=annotator) == {LEFT: None, RIGHT: None}


@pytest.mark.parametrize("status", ["", "detected"])
def test_without_columns_of_coordinates_nothing_may_be_there(run, dataset, tmp_path, status):
    table = csv(tmp_path / "c1.csv", f"label,px,status\nleft,30,{status}\nright,,missing\n")
    code, _, err = run("import", dataset.path, table, "--annotator", "anna")
    assert code == 2 and "has no columns for x, y and z, and does not say that 'left' is missing" in err[0]


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


def test_a_case_that_may_not_be_written_is_named_and_the_others_are_imported(run, dataset, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(
        "case,frame,label,x,y,z\nc1,LPS,left,30,40,50\nc1,LPS,right,-30,44,52\nc2,LPS,left,30,40,1050\nc2,LPS,right,-30,44,1052\n"
    )
    assert run("import", dataset.path, table, "--annotator", "anna")[0] == 0
    kept = dataset.case("c1").folder / "annotations" / "anna.json"
    kept.chmod(0o444)
    table.write_text(table.read_text().replace("44,", "45,"))
    code, out, err = run("import", dataset.path, table, "--annotator", "anna", "--replace")
    kept.chmod(0o644)
    assert (code, out) == (2, "c2: c2\n") and "anna.json can not be used (Permission denied)" in err[0]
    assert dataset.case("c2").annotation("anna").points[RIGHT] == (-30.0, 45.0, 1052.0)
