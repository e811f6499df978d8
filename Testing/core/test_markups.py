"""Markups files: what we write Slicer reads, what Slicer writes we read, and a missing point stays missing."""

from __future__ import annotations

import json

import pytest
from CarotidLandmarkLib.markups import MarkupsError, read_markups, write_markups
from hypothesis import given, settings
from hypothesis import strategies as st

coordinate = st.floats(-500, 500, allow_nan=False)
point = st.tuples(coordinate, coordinate, coordinate)
NAMES = ("left_carotid_bifurcation", "right_carotid_bifurcation")
LABELS = dict(zip(NAMES, ("L bifurcation", "R bifurcation"), strict=True))


@settings(max_examples=50)
@given(left=st.none() | point, right=st.none() | point)
def test_points_written_are_read_back_exactly(tmp_path_factory, left, right):
    path = tmp_path_factory.mktemp("markups") / "landmarks.mrk.json"
    points = dict(zip(NAMES, (left, right), strict=True))
    write_markups(path, points, LABELS)
    assert read_markups(path, LABELS) == points
    assert list(read_markups(path)) == list(LABELS.values())


def test_slicer_opens_our_file_with_the_same_points_and_saves_one_that_we_read(tmp_path):
    import slicer

    path = tmp_path / "landmarks.mrk.json"
    points = {NAMES[0]: (31.25, -12.5, 104.123456), NAMES[1]: None, "third": (-28.75, -10.5, 99.0)}
    write_markups(path, points, LABELS, {NAMES[0]: "+- 0.8 mm"})
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    assert node.GetNumberOfControlPoints() == 3
    assert node.GetNumberOfDefinedControlPoints() == 2
    assert node.GetNthControlPointLabel(0) == "L bifurcation"
    assert node.GetNthControlPointDescription(0) == "+- 0.8 mm"
    assert node.GetNthControlPointPosition(0) == pytest.approx((-31.25, 12.5, 104.123456), abs=1e-6)  # the scene is RAS
    assert node.GetNthControlPointPositionStatus(1) == slicer.vtkMRMLMarkupsNode.PositionMissing
    again = tmp_path / "saved by Slicer.mrk.json"
    storage.SetFileName(str(again))
    assert storage.WriteData(node) == 1
    read = read_markups(again, LABELS)
    assert list(read) == list(points)
    assert read[NAMES[1]] is None
    assert read[NAMES[0]] == pytest.approx(points[NAMES[0]], abs=1e-3)
    assert read["third"] == pytest.approx(points["third"], abs=1e-3)


def document(**changes) -> dict:
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "RAS",
        "controlPoints": [{"label": "a", "position": [1.0, 2.0, 3.0], "positionStatus": "defined"}],
    } | changes
    return {"@schema": "https://x/markups-schema-v1.0.0.json#", "markups": [markup]}


def write(path, content: dict):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_file_in_ras_is_read_as_lps(tmp_path):
    assert read_markups(write(tmp_path / "a.mrk.json", document())) == {"a": (-1.0, -2.0, 3.0)}


def test_a_point_that_was_never_placed_is_left_out(tmp_path):
    unplaced = [{"label": "a", "position": "", "positionStatus": "undefined"}]
    assert read_markups(write(tmp_path / "a.mrk.json", document(controlPoints=unplaced))) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (document(coordinateSystem="IJK"), "coordinate system 'IJK'"),
        (document(coordinateUnits="cm"), "not in millimetres"),
        (document(controlPoints=[{"label": "a", "position": [1, 2]}]), "damaged"),
        (document(controlPoints=[{"label": "a", "position": [1, 2, 3]}] * 2), "same label"),
        (
            document(controlPoints=[{"label": "a", "position": [1, 2, float("nan")]}]),
            "holds NaN, which is not a number",
        ),
        (document() | {"@schema": "https://x/markups-schema-v2.0.0.json#"}, "2.0.0"),
        ({"points": []}, "schema"),
        (document(type="ROI"), r"a\.mrk\.json holds no point list, but markups of another type \(ROI\); place points"),
    ],
)
def test_a_file_that_can_not_be_trusted_is_refused_with_the_reason(tmp_path, content, reason):
    with pytest.raises(MarkupsError, match=reason):
        read_markups(write(tmp_path / "a.mrk.json", content))


def test_a_truncated_file_is_refused_in_one_sentence(tmp_path):
    path = write_markups(tmp_path / "a.mrk.json", {"a": (1.0, 2.0, 3.0)})
    path.write_text(path.read_text()[:200])
    with pytest.raises(MarkupsError, match=r"^a\.mrk\.json is no Slicer markups file .* damaged: .*\.$"):
        read_markups(path)


def test_a_point_that_can_not_be_written_leaves_the_old_file_as_it_was(tmp_path):
    path = write_markups(tmp_path / "a.mrk.json", {"a": (1.0, 2.0, 3.0)})
    with pytest.raises(MarkupsError, match="not three finite numbers"):
        write_markups(path, {"a": (1.0, float("inf"), 3.0)})
    assert read_markups(path) == {"a": (1.0, 2.0, 3.0)}
    assert [item.name for item in tmp_path.iterdir()] == ["a.mrk.json"]


def test_points_of_all_lists_are_read_each_in_its_own_frame_and_a_label_twice_is_refused(tmp_path):
    def some(frame, label, x):
        points = [{"label": label, "position": [x, 2, 3]}]
        return document(coordinateSystem=frame, controlPoints=points)["markups"][0]

    content = document() | {"markups": [some("LPS", "a", 1), some("RAS", "b", -1)]}
    assert read_markups(write(tmp_path / "a.mrk.json", content)) == {"a": (1, 2, 3), "b": (1, -2, 3)}
    content = document() | {"markups": [some("LPS", "a", 1), some("LPS", "a", 5)]}
    with pytest.raises(MarkupsError, match="two points with the same label"):
        read_markups(write(tmp_path / "a.mrk.json", content))


@pytest.mark.parametrize("kind", ["Line", "Angle", "Curve", "ClosedCurve", "Plane", "ROI"])
def test_the_control_points_of_what_slicer_draws_otherwise_are_no_points(tmp_path, kind):
    import slicer

    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}Node")
    node.AddControlPoint((1.0, 2.0, 3.0))
    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "a.mrk.json"))
    assert storage.WriteData(node) == 1
    with pytest.raises(MarkupsError, match=rf"no point list, but markups of another type \({kind}\)"):
        read_markups(tmp_path / "a.mrk.json")
    drawn, points = json.loads((tmp_path / "a.mrk.json").read_text()), document()
    both = drawn | {"markups": [*drawn["markups"], *points["markups"]]}
    assert read_markups(write(tmp_path / "a.mrk.json", both)) == {"a": (-1.0, -2.0, 3.0)}


def test_a_list_that_states_no_type_is_one_of_points(tmp_path):
    content = document()
    del content["markups"][0]["type"]
    assert read_markups(write(tmp_path / "a.mrk.json", content)) == {"a": (-1.0, -2.0, 3.0)}
