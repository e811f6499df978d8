"""What a table says of its coordinates beside them, frame and unit: it is followed, or contradicted in a sentence."""

from __future__ import annotations

import json

import pytest
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.exchange import PointsOptions, points_of_scan
from CarotidLandmarkLib.geometry import Geometry
from hypothesis import given, settings
from hypothesis import strategies as st

from .conftest import LEFT, RIGHT, block

# around zero: in LPS and in RAS, its points are in the scan
SCAN: Geometry = block((-78.0, -62.0, -62.0)).geometry
POINTS = {"left": (30.0, 12.0, 20.0), "right": (-28.0, 10.0, 21.0)}
TURNS = {
    "LPS": lambda point: point,
    "RAS": lambda point: (-point[0], -point[1], point[2]),
    "voxel": lambda point: tuple(SCAN.to_voxels(point).tolist()),
}
WORDS = {
    "LPS": ("LPS", "lps", "LPS+", "left-posterior-superior", "L, P, S", "LPS (mm)"),
    "RAS": ("RAS", "Right Anterior Superior", "RAS+", "ras in mm"),
    "voxel": ("voxel", "voxels", "IJK", "index", "vox"),
}
KEYS = ("frame", "space", "coordinateSystem", "coordinate_system", "Coordinate Space", "coordsys", "reference_frame")


def read(folder, content: str, suffix: str, frame=None, **columns):
    file = folder / f"points.{suffix}"
    file.write_text(content, encoding="utf-8")
    return points_of_scan(file, SCAN, (LEFT, RIGHT), "scan", PointsOptions(columns, frame, {}))


def table(places: dict, key: str = "", text: str = "", axes: str = "x,y,z") -> str:
    """A CSV, with a column ``key`` that says ``text`` in each row."""
    head = f"label,{axes}" + (f',"{key}"' if key else "")
    rows = [f"{name},{','.join(map(repr, place))}" + (f',"{text}"' if key else "") for name, place in places.items()]
    return "\n".join([head, *rows]) + "\n"


def document(places: dict, **stated) -> str:
    return json.dumps({**stated, "points": [{"name": name, "position": place} for name, place in places.items()]})


def said(how: str, places: dict, key: str, text: str) -> tuple[str, str]:
    """The file in which ``key`` is ``text``, said in one of the ways in which programs and people say it."""
    records = [{"name": name, "position": place, key: text} for name, place in places.items()]
    return {
        "a column": (table(places, key, text), "csv"),
        "a comment": (f"# {key} = {text}\n" + table(places), "csv"),
        "a key": (document(places, **{key: text}), "json"),
        "a key in an object": (document(places, about={key: text}), "json"),
        "a list": (document(places, **{key: [text]}), "json"),
        "each record": (json.dumps(records), "json"),
    }[how]


WAYS = ("a column", "a comment", "a key", "a key in an object", "a list", "each record")


@settings(max_examples=60, deadline=None)
@given(data=st.data(), how=st.sampled_from(WAYS), key=st.sampled_from(KEYS), frame=st.sampled_from(list(TURNS)))
def test_a_frame_that_is_said_beside_the_coordinates_is_theirs_however_it_is_said(
    tmp_path_factory, data, how, key, frame
):
    text = data.draw(st.sampled_from(WORDS[frame]))
    places = {name: TURNS[frame](point) for name, point in POINTS.items()}
    content, suffix = said(how, places, key, text)
    folder = tmp_path_factory.mktemp("said")
    for asked in (None, frame):
        points, notes = read(folder, content, suffix, asked)
        assert points == {LEFT: pytest.approx(POINTS["left"]), RIGHT: pytest.approx(POINTS["right"])}
        assert not [note for note in notes if "were taken as" in note]
    other = data.draw(st.sampled_from([each for each in TURNS if each != frame]))
    with pytest.raises(UserError, match=f"says that its coordinates are {frame}, and --frame says {other}"):
        read(folder, content, suffix, other)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("key", ["unit", "units", "coordinateUnits", "Coordinate Unit", "x_unit"])
def test_a_unit_other_than_mm_is_refused_and_mm_is_read(tmp_path, how, key):
    for text in ("mm", "millimeter", "MM"):
        content, suffix = said(how, POINTS, key, text)
        assert read(tmp_path, content, suffix, "LPS")[0] == {LEFT: POINTS["left"], RIGHT: POINTS["right"]}
        with pytest.raises(UserError, match="says that its coordinates are in mm, and --frame says voxel"):
            read(tmp_path, content, suffix, "voxel")
    for text in ("cm", "m", "0.1 mm", "inch", "µm", "2", "㎝"):
        content, suffix = said(how, POINTS, key, text)
        with pytest.raises(UserError, match=f"says {key}: {text}, and coordinates are read in mm .* convert them"):
            read(tmp_path, content, suffix, "LPS")


@pytest.mark.parametrize(
    "content, suffix",
    [
        (table(POINTS, "frame", "12"), "csv"),  # of a film
        (table(POINTS, "space", "n/a"), "csv"),
        (table(POINTS, "unit", ""), "csv"),
        (table(POINTS, "frame of reference", "1.2.840.1.8"), "csv"),
        (document(POINTS, space="world", type="Multiple points"), "json"),
        (document(POINTS, coordinateUnits=["mm", "UCUM", "millimeter"], frame=None), "json"),
        (table(POINTS, "care unit", "ICU"), "csv"),
        (table(POINTS, "system", "Siemens"), "csv"),
    ],
)
def test_what_says_nothing_of_coordinates_changes_nothing(tmp_path, content, suffix):
    with pytest.raises(UserError, match="does not say whether it is in LPS or RAS, and in both they are in the scan"):
        read(tmp_path, content, suffix)
    assert read(tmp_path, content, suffix, "LPS") == ({LEFT: POINTS["left"], RIGHT: POINTS["right"]}, ())


@pytest.mark.parametrize(
    "content, words",
    [
        (table(POINTS, "space", "MNI152"), "says space: MNI152, and coordinates are read in mm"),
        (table(POINTS, "frame", "LPI"), "says frame: LPI, and coordinates are read in mm"),
        (table(POINTS, "frame", "RAS", "x_lps,y_lps,z_lps"), "says that its coordinates are LPS and RAS; correct it"),
        (table(POINTS, "unit", "mm", "i,j,k"), "says that its coordinates are in mm and voxel; correct it"),
        (table(POINTS, "", "", "x_vox_mm,y_vox_mm,z_vox_mm"), "says that its coordinates are in mm and voxel"),
        ("# frame: LPS\n" + table(POINTS, "space", "RAS"), "says that its coordinates are LPS and RAS; correct it"),
        (table(POINTS, "frame", "RAS").replace("RAS", "LPS", 1), "says that its coordinates are LPS and RAS"),
    ],
)
def test_a_file_that_is_in_none_of_our_frames_or_contradicts_itself_is_refused(tmp_path, content, words):
    with pytest.raises(UserError, match=words):
        read(tmp_path, content, "csv")


@pytest.mark.parametrize("word", ["voxel", "vox", "index", "ijk", "voxels", "idx", "indices"])
def test_coordinates_whose_columns_say_voxel_by_any_word_are_voxels(tmp_path, word):
    places = {name: TURNS["voxel"](point) for name, point in POINTS.items()}
    content = table(places, axes=",".join(f"{axis}_{word}" for axis in "xyz"))
    points, notes = read(tmp_path, content, "csv")
    assert points == {LEFT: pytest.approx(POINTS["left"]), RIGHT: pytest.approx(POINTS["right"])}
    assert [note for note in notes if note.startswith("voxels were counted from 0")]
    with pytest.raises(UserError, match="says that its coordinates are voxel, and --frame says LPS"):
        read(tmp_path, content, "csv", "LPS")


def test_columns_that_are_named_by_hand_may_be_in_no_other_unit_either(tmp_path):
    content = table(POINTS, axes="x_cm,y_cm,z_cm")
    with pytest.raises(UserError, match="has coordinates in cm; give them in mm"):
        read(tmp_path, content, "csv", "LPS", x="x_cm", y="y_cm", z="z_cm")
    assert read(tmp_path, table(POINTS, axes="l,m,n"), "csv", "LPS", x="l", y="m", z="n")[0][LEFT] == POINTS["left"]


def test_each_scan_of_a_table_has_the_frame_of_its_rows(tmp_path):
    lps, ras = table(POINTS, "scan,frame", "one,LPS"), table({n: TURNS["RAS"](p) for n, p in POINTS.items()})
    rows = [f"{line},scan,RAS" for line in ras.splitlines()[1:]]
    content = "\n".join(["label,x,y,z,scan,frame", *(line.replace('"', "") for line in lps.splitlines()[1:]), *rows])
    assert read(tmp_path, content, "csv")[0] == {LEFT: POINTS["left"], RIGHT: POINTS["right"]}


def test_coordinates_in_other_units_than_mm_are_refused(run, dataset, tmp_path):
    table = "case,label,x_cm,y_cm,z_cm\nc1,left,3,4,5\nc1,right,-3,4.4,5.2\n"
    (tmp_path / "t.csv").write_text(table)
    code, _, err = run("import", dataset.path, tmp_path / "t.csv", "--annotator", "anna")
    assert code == 2 and "t.csv has coordinates in cm; give them in mm" in err[0]


def test_voxels_come_with_a_note_of_how_they_were_counted(run, dataset, tmp_path):
    (tmp_path / "t.csv").write_text("case,label,i,j,k\nc1,left,27,5,12\nc1,right,12,6,13\n")
    code, _, err = run("import", dataset.path, tmp_path / "t.csv", "--annotator", "anna")
    assert (code, dataset.case("c1").annotation("anna").points[LEFT]) == (0, (28.0, 40.0, 48.0))
    assert "voxels were counted from 0 along the axes of this scan's image" in err[0]


def test_numbers_of_points_are_no_cases_once_that_is_said(tmp_path, run, dataset):
    file = tmp_path / "c1.csv"
    file.write_text("id,label,x_lps,y_lps,z_lps\n1,left,30,40,50\n2,right,-30,44,52\n")
    code, out, err = run("import", dataset.path, file, "--annotator", "anna")
    assert (code, out) == (2, "")
    assert err[0] == (
        "c1.csv does not say whether 'id' counts its points or names their scans; say --columns case= for points of "
        "one scan, else case=id."
    )
    assert run("import", dataset.path, file, "--annotator", "anna", "--columns", "case=") == (0, "c1: c1.csv\n", [])
    assert dataset.case("c1").annotation("anna").points == {LEFT: (30, 40, 50), RIGHT: (-30, 44, 52)}
    file.write_text("id,label,x_lps,y_lps,z_lps\nc1,left,30,40,50\nc2,right,-30,44,1052\n")
    code, out, _ = run("import", dataset.path, file, "--annotator", "ben", "--columns", "case=id")
    assert code == 0 and out.startswith("c1: c1, a draft") and "\nc2: c2, a draft" in out
    file.write_text("id,label,x_lps,y_lps,z_lps\nc1,left,30,40,50\nc2,left,30,44,1052\n")
    assert run("import", dataset.path, file, "--annotator", "cleo")[0] == 0
