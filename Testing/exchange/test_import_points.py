"""Points of other programs become annotations of the cases they belong to, or are refused with nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from CarotidLandmarkLib.dataset import Dataset, patient_group, read_draft
from CarotidLandmarkLib.markups import write_markups
from CarotidLandmarkLib.volume import write_volume
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import LEFT, RIGHT, block

L, R = (30.0, 40.0, 50.0), (-30.25, 44.5, 52.125)
FCSV = "\n".join(
    [
        "# Markups fiducial file version = {version}",
        "# CoordinateSystem = {frame}",
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID",
        "",
    ]
)


def files(dataset: Dataset) -> dict[str, bytes]:
    return {path.relative_to(dataset.path).as_posix(): path.read_bytes() for path in dataset.path.rglob("*.json")}


def points(dataset: Dataset, case: str = "c1", annotator: str = "anna") -> dict:
    return dataset.case(case).annotation(annotator).points


def fcsv(path: Path, version: str, frame: str, labels: tuple[str, str] = ("L", "R")) -> Path:
    sign = -1 if frame in ("0", "RAS") else 1
    lines = [
        f"n{n},{sign * p[0]},{sign * p[1]},{p[2]},0,0,0,1,1,1,0,{label},,"
        for n, (p, label) in enumerate(zip((L, R), labels, strict=True))
    ]
    path.write_text(FCSV.format(version=version, frame=frame) + "\n".join(lines) + "\n")
    return path


def csv(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


HEADER = "case,landmark,x_lps_mm,y_lps_mm,z_lps_mm\n"
TABLES = {
    "LPS in the header": HEADER + "c1,left,30,40,50\nc1,right,-30.25,44.5,52.125\n",
    "R, A, S": "scan;name;R;A;S\nc1;L bif;-30;-40;50\nc1;R bif;30,25;-44,5;52,125\n",
    "wide": "scan_id,left_x,left_y,left_z,right_x,right_y,right_z\nc1,30,40,50,-30.25,44.5,52.125\n",
    "camels, units, tabs": "\t".join(["file", *(f"{side}{axis} (mm)" for side in ("Left", "Right") for axis in "XYZ")])
    + "\nc1\t30\t40\t50\t-30.25\t44.5\t52.125\n",
    "Excel": "sep=;\r\ncase;label;x;y;z\r\nc1;Left;30,0;40;50\r\nc1;Right;-30,25;44,5;52,125\r\n",
    "quoted commas": 'case,label,x,y,z\nc1,Left,"30,0",40,50\nc1,Right,"-30,25","44,5","52,125"\n',
    "comments": "# of Anna\ncase,label,x,y,z\nc1,L,30,40,50\n# and\nc1,R,-30.25,44.5,52.125\n",
    "a header in a comment": "# of Anna\n#case label x y\n#case,label,x,y,z\nc1,L,30,40,50\nc1,R,-30.25,44.5,52.125\n",
    "with deviations": "case,label,x,y,z,std_x,std_y,std_z\nc1,Left,30,40,50,1,1,1\n"
    "c1,Right,-30.25,44.5,52.125,1,1,1\n",
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_is_read_whatever_its_separator_decimals_columns_and_encoding(run, dataset, tmp_path, name, encoding):
    table = csv(tmp_path / "points.csv", TABLES[name], encoding)
    code, out, err = run("import", dataset.path, table, "--annotator", "anna")
    assert (code, out) == (0, "c1: c1\n"), err
    assert points(dataset) == {LEFT: L, RIGHT: R}
    assert set(dataset.case("c1").annotation("anna").status.values()) == {"corrected"}


@pytest.mark.parametrize(
    "version, frame", [("4.4", "0"), ("4.10", "1"), ("4.11", "LPS"), ("5.0", "RAS"), ("4.13", "LPS")]
)
def test_every_fcsv_that_slicer_4_and_5_wrote_is_read_in_its_own_frame(run, dataset, tmp_path, version, frame):
    code, _, err = run("import", dataset.path, fcsv(tmp_path / "c1.fcsv", version, frame), "--annotator", "anna")
    assert code == 0, err
    assert points(dataset) == {LEFT: L, RIGHT: R}


STATES = ["placed", "SetNthControlPointPositionMissing", "UnsetNthControlPointPosition"]  # of the right point


@pytest.mark.parametrize("suffix", [".fcsv", ".csv", ".mrk.json"])
@pytest.mark.parametrize("state", STATES)
def test_what_slicer_itself_writes_is_read_and_a_point_that_is_not_placed_is_no_place(
    run, dataset, tmp_path, suffix, state
):
    slicer = pytest.importorskip("slicer")
    scene, logic = slicer.vtkMRMLScene(), slicer.vtkSlicerMarkupsLogic()
    logic.SetMRMLScene(scene)
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    for label, (x, y, z) in (("L", L), ("R", R)):
        node.AddControlPoint((-x, -y, z), label)
    if state != "placed":
        getattr(node, state)(1)
    file = tmp_path / f"c1{suffix}"
    if suffix == ".csv":
        assert logic.ExportControlPointsToCSV(node, str(file), True)
    else:
        kind = {".fcsv": "vtkMRMLMarkupsFiducialStorageNode", ".mrk.json": "vtkMRMLMarkupsJsonStorageNode"}[suffix]
        storage = scene.AddNewNodeByClass(kind)
        storage.SetFileName(str(file))
        assert storage.WriteData(node)
    code, _, err = run("import", dataset.path, file, "--annotator", "anna")
    assert code == 0, err
    if state == "placed":
        assert points(dataset) == {LEFT: pytest.approx(L, abs=1e-3), RIGHT: pytest.approx(R, abs=1e-3)}
    elif state == "SetNthControlPointPositionMissing" and suffix != ".csv":  # whose 0 says nothing of why
        assert points(dataset) == {LEFT: pytest.approx(L, abs=1e-3), RIGHT: None}
    else:
        assert not dataset.case("c1").has_annotation("anna")
        draft = read_draft(dataset.case("c1"), "anna")
        assert {name: place for name, (_status, place) in draft.landmarks.items()} == {LEFT: pytest.approx(L, abs=1e-3)}


def test_a_fcsv_of_slicer_3_is_read_in_ras(run, dataset, tmp_path):
    text = (
        "# Fiducial List file /home/x\n# name = L\n# columns = label,x,y,z,sel,vis\n"
        "left,-30,-40,50,1,1\nright,30.25,-44.5,52.125,1,1\n"
    )
    assert run("import", dataset.path, csv(tmp_path / "c1.fcsv", text), "--annotator", "anna")[0] == 0
    assert points(dataset) == {LEFT: L, RIGHT: R}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*[st.floats(0, 1)] * 3), st.tuples(*[st.floats(0, 1)] * 3), st.sampled_from(["LPS", "RAS", "voxel"]))
def test_a_point_of_any_frame_comes_back_where_it_was(tmp_path_factory, some, other, frame):
    folder = tmp_path_factory.mktemp("any")
    dataset = Dataset.create(folder / "set", (LEFT, RIGHT))
    dataset.add_case(block((-80, 20, 0)), "c1")
    geometry = dataset.case("c1").geometry
    left = np.array([0 + 70 * some[0] + 2, 20 + 120 * some[1], 120 * some[2]])
    right = np.array([-75 + 70 * other[0], 20 + 120 * other[1], 120 * other[2]])
    turn = {"LPS": lambda p: p, "RAS": lambda p: p * [-1, -1, 1], "voxel": geometry.to_voxels}[frame]
    rows = [f"c1,{side},{','.join(map(repr, map(float, turn(p))))}" for side, p in (("left", left), ("right", right))]
    table = csv(folder / "t.csv", "case,label,x,y,z\n" + "\n".join(rows))
    from CarotidLandmarkLib.exchange import PointsOptions, plan_points, save_import

    (item,) = plan_points(dataset, [table], PointsOptions({}, frame, {}))
    save_import(dataset, item, "anna", False, False)
    assert np.allclose(points(dataset)[LEFT], left, atol=1e-6)
    assert np.allclose(points(dataset)[RIGHT], right, atol=1e-6)


def test_markups_and_points_by_name_come_in_and_a_second_import_changes_nothing(run, dataset, tmp_path):
    file = write_markups(tmp_path / "c2.mrk.json", {"L": (30, 40, 1050), "R": None})
    assert run("import", dataset.path, file, "--annotator", "anna")[0] == 0
    assert points(dataset, "c2") == {LEFT: (30.0, 40.0, 1050.0), RIGHT: None}
    before = files(dataset)
    code, out, _ = run("import", dataset.path, file, "--annotator", "anna")
    assert (code, out) == (0, "c2: c2.mrk.json was there already\n")
    assert files(dataset) == before


def test_the_frame_of_markups_is_the_file_s_and_another_one_is_refused(run, dataset, tmp_path):
    file = write_markups(tmp_path / "c1.mrk.json", {"L": L, "R": R})
    code, _, err = run("import", dataset.path, file, "--annotator", "anna", "--frame", "RAS")
    assert code == 2 and "says that its coordinates are LPS, and --frame says RAS" in err[0]
    document = json.loads(file.read_text())
    (markup,) = document["markups"]
    markup["coordinateSystem"] = "RAS"
    for point in markup["controlPoints"]:
        point["position"][:2] = [-value for value in point["position"][:2]]
    file.write_text(json.dumps(document))
    assert run("import", dataset.path, file, "--annotator", "anna", "--frame", "RAS")[0] == 0
    assert points(dataset) == {LEFT: L, RIGHT: R}


def test_the_corner_of_a_box_is_no_bifurcation_and_beside_points_it_is_left_out_with_a_note(run, dataset, tmp_path):
    file = write_markups(tmp_path / "c1.mrk.json", {"R-1": R})
    document = json.loads(file.read_text())
    (placed,) = document["markups"]
    box = {**placed, "type": "ROI", "coordinateSystem": "RAS"}
    file.write_text(json.dumps(document | {"markups": [box]}))
    before = files(dataset)
    code, _, err = run("import", dataset.path, file, "--annotator", "anna", "--missing")
    assert code == 2 and "c1.mrk.json holds no point list, but markups of another type (ROI)" in err[0]
    assert files(dataset) == before
    file.write_text(json.dumps(document | {"markups": [box, placed]}))
    code, _, err = run("import", dataset.path, file, "--annotator", "anna", "--missing", "--frame", "LPS")
    assert (code, err) == (0, ["Note: c1: markups of another type than points were left out (ROI)."])
    assert points(dataset) == {LEFT: None, RIGHT: R}


def test_json_of_points_with_a_name_and_a_position_is_a_table(run, dataset, tmp_path):
    document = {
        "name": "c1",
        "type": "Multiple points",
        "points": [{"name": "left", "point": L}, {"name": "right", "point": R}],
    }
    file = csv(tmp_path / "c1.json", json.dumps(document))
    code, _, err = run("import", dataset.path, file, "--annotator", "anna")
    assert code == 0
    assert points(dataset) == {LEFT: L, RIGHT: R}
    assert err == ["Note: c1: coordinates were taken as LPS: only so are they in the scan."]


def test_two_points_without_names_are_told_by_their_sides_with_a_note(run, dataset, tmp_path):
    code, _, err = run(
        "import", dataset.path, fcsv(tmp_path / "c1.fcsv", "5.0", "LPS", ("F-2", "F-1")), "--annotator", "anna"
    )
    assert code == 0
    assert points(dataset) == {LEFT: L, RIGHT: R}
    assert err == [f"Note: c1: 'F-2' was taken as {LEFT} and 'F-1' as {RIGHT}, by their places."]


def test_one_side_alone_is_a_draft_and_with_missing_an_annotation(run, dataset, tmp_path):
    table = csv(tmp_path / "t.csv", "case,label,x_lps,y_lps,z_lps\nc1,left,30,40,50\nc1,right,,,\n")
    code, out, _ = run("import", dataset.path, table, "--annotator", "anna")
    assert (code, out) == (0, f"c1: c1, a draft to be looked at; nothing is said of {RIGHT}\n")
    assert not dataset.case("c1").has_annotation("anna")
    assert read_draft(dataset.case("c1"), "anna").landmarks == {LEFT: ("corrected", L)}
    assert run("import", dataset.path, table, "--annotator", "bert", "--missing")[0] == 0
    assert points(dataset, annotator="bert") == {LEFT: L, RIGHT: None}


def test_a_case_is_matched_by_the_scan_beside_the_patient_or_its_place(run, dataset, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    write_volume(block((-80, 20, 0)), scans / "Müller.nii.gz")
    beside = fcsv(scans / normalize("NFD", "Müller.fcsv"), "5.0", "LPS")  # as macOS writes it
    assert run("import", dataset.path, beside, "--annotator", "anna") == (0, f"c1: {beside.name}\n", [])
    dataset.add_case(block((-80, 20, 2000), seed=7), "c3", group=patient_group("MRN 77"))
    table = csv(
        tmp_path / "t.csv", "patient,label,x_lps,y_lps,z_lps\nMRN 77,left,30,40,2050\nMRN 77,right,-30,40,2050\n"
    )
    assert run("import", dataset.path, table, "--annotator", "anna") == (0, "c3: MRN 77\n", [])
    nameless = write_markups(tmp_path / "F.mrk.json", {"left": (30, 40, 1050), "right": (-30, 40, 1050)})
    code, out, err = run("import", dataset.path, nameless, "--annotator", "anna")
    assert (code, out) == (0, "c2: F.mrk.json\n")
    assert err == ["Note: c2: matched by its place alone: look whether it is this scan."]


def test_columns_labels_and_frame_can_be_said(run, dataset, tmp_path):
    table = csv(tmp_path / "t.csv", "who,what,a,b,c\nc1,7,-30,-40,50\nc1,8,30.25,-44.5,52.125\nc1,9,0,0,0\n")
    arguments = ["--columns", "x=a,y=b,z=c,label=what,case=who", "--frame", "ras", "--label", f"7={LEFT}"]
    code, _, err = run(
        "import", dataset.path, table, "--annotator", "anna", *arguments, "--label", f"8={RIGHT}", "--label", "9="
    )
    assert code == 0, err
    assert points(dataset) == {LEFT: L, RIGHT: R}


def test_a_bad_file_does_not_stop_the_others(run, dataset, tmp_path):
    good, bad = fcsv(tmp_path / "c1.fcsv", "5.0", "LPS"), csv(tmp_path / "c2.csv", "a,b\n1,2\n")
    code, out, err = run("import", dataset.path, bad, good, "--annotator", "anna")
    assert (code, out) == (2, "c1: c1.fcsv\n")
    assert err[-1] == "1 of 2 could not be imported; the lines above say why."


HEAD = "case,label,x_lps,y_lps,z_lps\n"
BAD = {
    "NaN": (HEAD + "c1,left,nan,40,50\n", "which is no place"),
    "a word": (HEAD + "c1,left,there,40,50\n", "has 'there' where a coordinate is wanted"),
    "an underscore": (HEAD + "c1,left,1_2.5,40,50\n", "has '1_2.5' where a coordinate is wanted"),
    "both decimal signs": (HEAD + 'c1,left,"1,030.5",40,50\n', "has '1,030.5' where a coordinate is wanted"),
    "far away": (HEAD + "c1,left,1e9,40,50\n", "in no scanner"),
    "30 mm outside": (HEAD + "c1,left,30,40,156\nc1,right,-30,40,50\n", f"{LEFT} lies 30 mm outside the image of c1"),
    "0.3 mm outside": (HEAD + "c1,left,30,40,126.3\nc1,right,-30,40,50\n", f"{LEFT} lies 0.3 mm outside the image"),
    "hardly outside": (HEAD + "c1,left,30,40,126.01\nc1,right,-30,40,50\n", f"{LEFT} lies 0.1 mm outside the image"),
    "exchanged": (HEAD + "c1,left,-30,40,50\nc1,right,30,40,50\n", f"{LEFT} and {RIGHT} of c1 are exchanged: left"),
    "no columns": ("case,label,comment\nc1,left,hm\n", "has no columns for x, y and z"),
    "two of three coordinates": (
        "case,left_x,left_y,left_z,right_x,right_y\nc1,30,40,50,-30,40\n",
        "has the columns right_x and right_y, but not the third",
    ),
    "no names": ("case,x_lps,y_lps,z_lps\nc1,1,2,3\n", "has no column with the points' names"),
    "the same twice": (HEAD + "c1,left,30,40,50\nc1,L,30,41,50\n", f"has two points for {LEFT}"),
    "the same row twice": (HEAD + "c1,left,30,40,50\nc1,left,30,41,50\n", "twice; keep one of the two"),
    "another landmark": (
        HEAD + "c1,L vertebral origin,30,40,50\n",
        "has a point 'L vertebral origin', which is none of",
    ),
    "no case": (HEAD + "c9,left,30,40,5000\nc9,right,-30,40,5000\n", "No case of set matches 'c9'"),
    "no case in a row": (HEAD + ",left,30,40,50\n", "does not say the case of a row"),
    "no frame": ("case,label,x,y,z\nc1,left,30,400,50\n", "in neither are they in the scan"),
    "empty": ("", "is empty"),
    "no rows": (HEAD, "holds no points"),
    "more cells than columns": ("case;label;x;y\n1;2;3;4;5\n", "more cells than columns"),
    "two columns of one name": ("case,label,x,x,y,z\nc1,l,1,1,2,3\n", "two columns 'x'"),
    "torn JSON": ('{"points": [', "begins as JSON does, but is damaged"),
    "NaN in JSON": ('[{"name": "left", "x": NaN, "y": 1, "z": 2}]', "holds NaN"),
    "JSON of something else": ('{"hello": 1}', "neither .mrk.json nor a list of points"),
    "binary": ("\0\1\2", "is no file of points"),
    "a fcsv of no frame": (
        FCSV.format(version="5.0", frame="XYZ") + "1,1,2,3,0,0,0,1,1,1,0,left,,\n",
        "which Slicer does not know",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_points_are_one_true_sentence_and_nothing_is_written(run, dataset, tmp_path, name):
    text, sentence = BAD[name]
    before = files(dataset)
    code, out, err = run("import", dataset.path, csv(tmp_path / "points.csv", text), "--annotator", "anna")
    assert (code, out) == (2, "")
    assert len(err) == 2 and sentence in err[0] and err[0].endswith("."), err
    assert files(dataset) == before


def test_points_that_match_two_cases_or_speak_of_one_case_twice_are_refused(run, dataset, tmp_path):
    dataset.add_case(block((-80, 20, 8), seed=9), "c4")
    nameless = write_markups(tmp_path / "F.mrk.json", {"left": L, "right": R})
    code, _, err = run("import", dataset.path, nameless, "--annotator", "anna")
    assert code == 2 and "matches several cases (c1, c4), which hold its points" in err[0]
    first, second = (
        fcsv(tmp_path / "c1.fcsv", "5.0", "LPS"),
        write_markups(tmp_path / "c1.mrk.json", {"left": L, "right": None}),
    )
    code, out, err = run("import", dataset.path, first, second, "--annotator", "anna")
    assert (code, out) == (2, "") and "c1.fcsv and c1.mrk.json speak; give one of them" in err[0]
    assert not dataset.case("c1").has_annotation("anna")


def test_a_frame_that_could_be_both_is_asked_for(run, tmp_path):
    dataset = Dataset.create(tmp_path / "set", (LEFT, RIGHT))
    dataset.add_case(block((-80, -62, 0)), "c1")
    table = csv(tmp_path / "t.csv", "case,label,x,y,z\nc1,left,30,0,50\nc1,right,-30,0,50\n")
    code, _, err = run("import", dataset.path, table, "--annotator", "anna")
    assert code == 2 and "in both they are in the scan; say it with --frame" in err[0]
    assert run("import", dataset.path, table, "--annotator", "anna", "--frame", "LPS")[0] == 0
    code, _, err = run("import", dataset.path, table, "--annotator", "bert", "--frame", "RAS")
    assert code == 2 and "exchanged" in err[0]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "Say whose points these are with --annotator NAME."),
        (["--annotator", "a b"], "must be English letters"),
        (["--annotator", "anna", "--frame", "XYZ"], "XYZ"),
        (["--annotator", "anna", "--frame", "RAS"], "says that its coordinates are LPS, and --frame says RAS"),
        (["--annotator", "anna", "--columns", "x=a"], "names x, y and z together"),
        (["--annotator", "anna", "--columns", "q=a"], "--columns takes ROLE=COLUMN"),
        (["--annotator", "anna", "--columns", "label=absent"], "has no column 'absent'; it has"),
        (["--annotator", "anna", "--label", "left"], "--label takes LABEL=LANDMARK"),
        (["--annotator", "anna", "--label", "left=nose"], "--label takes LABEL=LANDMARK"),
        (["--segmentation", "--missing"], "are for files of points"),
        (["--segmentation", "--label", "common"], "--label takes LABEL=VESSEL"),
        (["--segmentation", "--label", "1=jugular"], "--label takes LABEL=VESSEL"),
        (["--segmentation", "--label", "=common"], "--label takes LABEL=VESSEL"),
        (["--segmentation", "--label", ""], "--label takes LABEL=VESSEL"),
    ],
)
def test_a_bad_option_is_one_sentence_and_nothing_is_written(run, dataset, tmp_path, arguments, sentence):
    before = files(dataset)
    table = csv(tmp_path / "c1.csv", TABLES["LPS in the header"])
    code, out, err = run("import", dataset.path, table, *arguments)
    assert (code, out) == (2, "")
    assert sentence in err[0], err
    assert files(dataset) == before


def test_what_an_annotator_has_said_a_millimetre_away_is_replaced_only_when_asked(run, dataset, tmp_path):
    places = {LEFT: (L[0] + 1, L[1], L[2]), RIGHT: R}
    dataset.save_annotation("c1", "anna", places, dict.fromkeys(places, "corrected"))
    file = fcsv(tmp_path / "c1.fcsv", "5.0", "LPS")
    code, _, err = run("import", dataset.path, file, "--annotator", "anna")
    assert code == 2 and "ask for that with --replace" in err[0]
    assert points(dataset) == places
    assert run("import", dataset.path, file, "--annotator", "anna", "--replace")[0] == 0
    assert points(dataset) == {LEFT: L, RIGHT: R}


def test_no_name_of_a_source_enters_the_dataset(run, dataset, tmp_path):
    file = csv(tmp_path / "Doe_John.csv", TABLES["wide"])
    assert run("import", dataset.path, file, "--annotator", "anna")[0] == 0
    assert not [name for name, content in files(dataset).items() if b"Doe" in content or b"Doe" in name.encode()]


def test_a_row_that_names_a_case_goes_before_one_whose_points_only_lie_in_it(run, dataset, tmp_path):
    table = HEADER + "c1,left,30,40,50\nc1,right,-30.25,44.5,52.125\nstranger,left,31,40,50\nstranger,right,-30,44,52\n"
    code, out, err = run("import", dataset.path, csv(tmp_path / "t.csv", table), "--annotator", "anna")
    assert (code, out) == (2, "c1: c1\n")
    assert "No case matches stranger: its points lie in case c1, but that is c1" in err[0]
    assert points(dataset) == {LEFT: L, RIGHT: R}


def test_an_annotator_without_a_name_is_refused_and_nobody_else_gets_the_points(run, dataset, tmp_path):
    table = csv(tmp_path / "t.csv", TABLES["LPS in the header"])
    code, _, err = run("import", dataset.path, table, "--annotator", "")
    assert code == 2 and "The annotator's name '' must be" in err[0]
    assert dataset.annotator_names() == set()
