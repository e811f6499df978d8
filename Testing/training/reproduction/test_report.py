"""The page of Table 1: its numbers, its pairs, what is still to come, and its figures."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from carotid_training.reproduction.figures import slices, violins
from carotid_training.reproduction.maps import PLANES, Heatmap, Shown
from carotid_training.reproduction.predict import COLUMNS, Scan, read_predictions
from carotid_training.reproduction.protocol import METHODS, Protocol
from carotid_training.reproduction.report import Training, pair_of, pairs_of, row_of, table_markdown
from carotid_training.reproduction.training import TrainingResult
from CarotidLandmarkLib.landmarks import CAROTID_BIFURCATIONS

from ..ball_scans import PLACES, scan_of_balls
from ..outcomes import LEFT, RIGHT, outcome


def scans(errors: list[tuple[float, float]]) -> list[Scan]:
    """One scan per pair of errors along x."""
    seconds = [(1.0, 2.0 + n, 0.5, 3.0) for n in range(len(errors))]
    return [
        Scan((outcome(f"c{n}", LEFT, (a, 0, 0)), outcome(f"c{n}", RIGHT, (b, 0, 0))), seconds[n], 100.0 + n)
        for n, (a, b) in enumerate(errors)
    ]


def test_a_method_that_is_better_on_every_patient_is_so_by_the_interval_and_the_test():
    worse = row_of("single", [Training(0, scans([(n / 2 + 3, n / 2 + 4) for n in range(12)]))], 0)
    better = row_of("ours", [Training(0, scans([(n / 2 + 1, n / 2 + 2.5) for n in range(12)]))], 0)
    pair = pair_of(better, worse, 0)
    assert pair.difference_mm.value == pytest.approx(-1.75)
    assert pair.difference_mm.high < 0 and pair.p < 0.001
    back = pair_of(worse, better, 0)
    assert back.difference_mm.value == pytest.approx(1.75) and back.p == pytest.approx(pair.p)
    assert math.isnan(pair_of(better, better, 0).p)
    assert (better.seconds_net, better.seconds_search, better.seconds_passes, better.peak_mb) == (7.5, 0.5, 3.0, 111.0)


def test_a_patient_in_whom_a_net_has_no_place_takes_no_part_in_the_test():
    shorter, longer = (scans([(n / 2 + k, n / 2 + k) for n in range(12)]) for k in (1, 3))
    found = scans([(1.0, 1.0)] * 13)[12:]
    lost = [Scan((outcome("c12", LEFT, None), outcome("c12", RIGHT, None)), (1.0,) * 4, 100.0)]

    def p(*rows):
        one, other = (row_of(key, [Training(0, row)], 0) for key, row in zip(("ours", "single"), rows, strict=True))
        return pair_of(one, other, 0).p

    assert p(shorter + found, longer + lost) == p(shorter, longer) < 0.001


def test_rows_of_other_landmarks_are_not_compared():
    with pytest.raises(ValueError, match="same landmarks"):
        pair_of(
            row_of("ours", [Training(0, scans([(1, 1)] * 3))], 0),
            row_of("single", [Training(0, scans([(1, 1)] * 2))], 0),
            0,
        )


def test_a_place_that_is_not_a_number_counts_as_missed(tmp_path):
    row = dict.fromkeys(COLUMNS, "")
    row |= {"case": "a", "group": "p", "landmark": LEFT, "presence": "1"}
    row |= {f"{which}_{axis}_lps_mm": "1.5" for which in ("scan", "true") for axis in "xyz"}
    row |= {f"found_{axis}_lps_mm": "nan" for axis in "xyz"}
    row |= {f"seconds_{what}": "0.1" for what in ("resampling", "net", "search", "passes")} | {"peak_mb": "1"}
    path = tmp_path / "test.csv"
    path.write_text(",".join(COLUMNS) + "\n" + ",".join(row[name] for name in COLUMNS) + "\n")
    (scan,) = read_predictions(path)
    assert scan.outcomes[0].error_mm is None
    assert row_of("single", [Training(0, [scan])], 0).statistics["success_10"].value == 0
    path.write_text(",".join(COLUMNS) + "\na,p\n")
    with pytest.raises(ValueError, match="is damaged"):
        read_predictions(path)


def page_of(rows, protocol: Protocol) -> str:
    counts = {"train": 1, "validation": 1, "test": 1}
    return table_markdown("t", protocol, rows, pairs_of(rows, 0), counts, "x", {"figure4": "All"})


def test_the_page_tells_in_which_numbers_the_trainings_were():
    rows = [row_of("constant", [Training(0, scans([(1, 2)]))], 0)]
    for precision, numbers in (("32-true", "float32"), ("bf16-mixed", "bfloat16")):
        page = page_of(rows, Protocol(cases=8, steps=6, precision=precision))
        assert f"Every training had 6 steps in {numbers}" in page


def test_the_page_tells_how_far_each_net_of_a_chain_came_and_what_is_still_to_come():
    validation = {
        "val/4mm": 11.04,
        "val/near_2mm": 17.0,
        "val/near_1mm": 10.5,
        "val/near_0.5mm": 5.0,
        "val/error": 12.0,
    }
    result = TrainingResult(90, 60.0, 80, 12.0, validation)
    rows = [row_of("constant", [Training(3, scans([(1, 2)]))], 0),
            row_of("noise", [Training(4, scans([(1, 2)]), result)], 0)]  # fmt: skip
    methods = ("constant", "single", "noise", "shipped")
    page = page_of(rows, Protocol(cases=8, steps=6, methods=methods, seeds=(3, 4), once=("single",)))
    assert f"| {METHODS['noise'].title}, seed 4 | 11.0 | 17.0 | 10.5 | 5.0 |" in page
    assert "| the middle of a patch of 56 voxels | – | 21.5 | 10.8 | 5.4 |" in page
    assert f"| {METHODS['constant'].title}, seed" not in page
    missing = f"{METHODS['single'].title} (seed 3); {METHODS['noise'].title} (seed 3); {METHODS['shipped'].title}."
    assert f"**Not all is done yet**: {missing}" in page
    assert page.count("![") == page.count("![All](figures/figure4.png)") == 1


def test_the_violins_show_every_error_and_the_papers_mean_where_there_is_one():
    rows = [row_of(key, [Training(0, scans([(1, 2), (3, 9), (2, 5)]))], 0) for key in ("constant", "single")]
    axes = violins(rows).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "." and len(line.get_xdata())]
    assert [sorted(10 ** line.get_ydata()) for line in dots] == [pytest.approx([1, 2, 2, 3, 5, 9])] * 2
    (cross,) = [line for line in axes.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert (cross.get_xdata()[0], 10 ** cross.get_ydata()[0]) == (1, pytest.approx(METHODS["single"].paper_mm[0]))


def test_the_names_under_the_violins_do_not_overlap():
    rows = [row_of(key, [Training(0, scans([(1, 2), (3, 9), (2, 5)]))], 0) for key in METHODS]
    figure = violins(rows)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len(boxes) == len(METHODS)
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_the_slices_show_a_heatmap_where_it_lies(tmp_path):
    """A heatmap of one bright voxel, 5 mm left, 3 mm behind and 0 mm above the true place."""
    values = np.zeros((41, 41, 41), np.float32)
    values[20, 23, 25] = 0.25
    place = np.array(PLACES[0])
    heatmap = Heatmap(values, 1.0, place)
    shown = Shown(place + np.array([5, 3, 0]), tuple(heatmap.layer(place, plane) for plane in PLANES))
    shown.write(tmp_path / "figure3.npz")
    figure = slices(scan_of_balls(PLACES), place, {"heatmap": tmp_path / "figure3.npz"})
    axial, sagittal, axial_map, sagittal_map = figure.axes
    for axes, axis, (across, along) in ((axial, (0, 1), (5, 3)), (sagittal, (1, 2), (3, 0))):
        plus, cross = (next(line for line in axes.lines if line.get_marker() == marker) for marker in "+x")
        assert np.ravel(plus.get_data()) == pytest.approx(place[list(axis)])
        assert np.ravel(cross.get_data()) == pytest.approx(place[list(axis)] + (across, along))
    assert axial.get_ylim()[0] > axial.get_ylim()[1] and sagittal.get_ylim()[0] < sagittal.get_ylim()[1]
    assert not axial_map.lines and not sagittal_map.lines  # marks would hide a small map
    drawn = axial_map.images[1]
    row, column = np.argwhere(~np.ma.getmaskarray(drawn.get_array()))[0]
    left, right, low, high = drawn.get_extent()
    height, width = drawn.get_array().shape
    assert left + (column + 0.5) * (right - left) / width == pytest.approx(place[0] + 5)
    assert low + (row + 0.5) * (high - low) / height == pytest.approx(place[1] + 3)
    assert drawn.get_array().max() == 1  # a share of the highest value
    assert np.ma.getmaskarray(sagittal_map.images[1].get_array()).all()  # it lies 5 mm off this slice
    far = heatmap.layer(place + np.array([0, 0, 30]), PLANES[0])
    Shown(place, (far, far)).write(tmp_path / "far.npz")
    texts = slices(scan_of_balls(PLACES), place, {"heatmap": tmp_path / "far.npz"}).axes[2].texts
    assert "the heatmap lies elsewhere" in [text.get_text() for text in texts]


def test_the_rows_are_those_of_the_paper_in_its_order():
    papers = [method.paper_mm[0] for method in METHODS.values() if method.paper_mm]
    assert papers == [6.45, 5.52, 4.35, 3.72, 3.61, 2.81]
    assert [landmark.name for landmark in CAROTID_BIFURCATIONS] == [LEFT, RIGHT]
