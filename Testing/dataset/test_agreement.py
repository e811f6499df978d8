"""Agreement of annotators: the numbers against formulas written out, the consensus, and what is to be discussed."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from CarotidLandmarkLib import cli
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.dataset.agreement import (
    AgreementError,
    Reading,
    agreement,
    cohens_kappa,
    consensus,
    limits_of_agreement,
)
from CarotidLandmarkLib.report.agreement import write_agreement
from hypothesis import given
from hypothesis import strategies as st

LEFT, RIGHT = NAMES = ("left_carotid_bifurcation", "right_carotid_bifurcation")
WORDS = "left carotid bifurcation"
HERE = (0.0, 0.0, 0.0)

coordinates = st.floats(-200, 200, allow_nan=False)
points = st.tuples(coordinates, coordinates, coordinates)
said_by_several = st.lists(st.fixed_dictionaries({LEFT: st.none() | points, RIGHT: st.none() | points}), min_size=1)


def reading(case_id="a", **answers) -> Reading:
    """A case on which each annotator has placed the left point as given; nobody has placed the right one."""
    return Reading(case_id, HERE, {who: {LEFT: point, RIGHT: None} for who, point in answers.items()})


def shifted(shifts, **more) -> list[Reading]:
    """Cases on which ben's left point lies ``shift`` from anna's."""
    return [
        reading(f"case-{n:02d}", anna=(float(n), 0.0, 0.0), ben=tuple(np.add((n, 0, 0), shift).tolist()), **more)
        for n, shift in enumerate(shifts)
    ]


class TestConsensus:
    def test_it_is_the_mean_of_the_placed_points(self):
        answers = [{LEFT: (0.0, 0.0, 0.0)}, {LEFT: (2.0, 4.0, 6.0)}, {LEFT: None}]
        assert consensus(answers, [LEFT]) == {LEFT: (1.0, 2.0, 3.0)}

    @pytest.mark.parametrize(("placed", "missing", "there"), [(1, 0, True), (1, 1, False), (2, 1, True), (1, 2, False)])
    def test_a_point_needs_more_than_half_of_the_annotators(self, placed, missing, there):
        answers = [{LEFT: (1.0, 2.0, 3.0)}] * placed + [{LEFT: None}] * missing
        assert (consensus(answers, [LEFT])[LEFT] is not None) == there

    @given(said_by_several, st.randoms(use_true_random=False), points)
    def test_it_moves_with_the_points_and_knows_no_order_of_annotators(self, answers, random, shift):
        moved = [{n: p and tuple(np.add(p, shift).tolist()) for n, p in one.items()} for one in answers]
        random.shuffle(moved)
        for name, point in consensus(answers, NAMES).items():
            other = consensus(moved, NAMES)[name]
            assert (point is None) == (other is None)
            assert point is None or np.allclose(np.add(point, shift), other, atol=1e-9)


class TestPairs:
    def test_distances_and_limits_are_those_of_the_formulas(self):
        shifts = np.random.default_rng(1).normal((1.0, 0.0, -2.0), (0.5, 1.0, 2.0), (30, 3))
        left = agreement(shifted(shifts), NAMES).pairs[0]
        distances = np.sqrt((shifts**2).sum(axis=1))
        assert (left.first, left.second, left.landmark, left.cases, left.both_present) == ("anna", "ben", LEFT, 30, 30)
        assert left.mean_mm == pytest.approx(distances.mean())
        assert left.sd_mm == pytest.approx(math.sqrt(((distances - distances.mean()) ** 2).sum() / 29))
        assert left.median_mm == pytest.approx(np.sort(distances)[14:16].mean())
        assert left.max_mm == pytest.approx(distances.max())
        for number, axis in enumerate("LPS"):
            limits, values = left.limits[axis], shifts[:, number]
            sd = math.sqrt(((values - values.mean()) ** 2).sum() / 29)
            assert limits.bias_mm == pytest.approx(values.mean())
            assert (limits.lower_mm, limits.upper_mm) == pytest.approx(
                (limits.bias_mm - 1.96 * sd, limits.bias_mm + 1.96 * sd)
            )

    def test_the_standard_errors_of_the_limits_are_those_seen_in_repeated_studies(self):
        studies = [limits_of_agreement(row) for row in np.random.default_rng(2).normal(0.3, 1.5, (4000, 25))]
        assert np.std([study.bias_mm for study in studies]) == pytest.approx(studies[0].bias_se_mm, rel=0.4)
        stated = np.mean([study.limit_se_mm for study in studies])
        assert np.std([study.upper_mm for study in studies]) == pytest.approx(stated, rel=0.05)

    @given(st.lists(points, min_size=2, max_size=8))
    def test_exchanging_two_annotators_turns_the_bias_and_keeps_the_distances(self, shifts):
        readings = shifted(shifts)
        one = agreement(readings, [LEFT], ["anna", "ben"]).pairs[0]
        other = agreement(readings, [LEFT], ["ben", "anna"]).pairs[0]
        assert (one.mean_mm, one.max_mm, one.median_mm) == (other.mean_mm, other.max_mm, other.median_mm)
        for axis in "LPS":
            assert one.limits[axis].bias_mm == pytest.approx(-other.limits[axis].bias_mm)
            assert one.limits[axis].lower_mm == pytest.approx(-other.limits[axis].upper_mm)

    def test_one_case_has_a_distance_but_no_spread(self):
        left = agreement(shifted([(3.0, 4.0, 0.0)]), NAMES).pairs[0]
        assert (left.mean_mm, left.max_mm, left.sd_mm) == (5.0, 5.0, None)
        assert set(left.limits.values()) == {None}

    def test_a_landmark_nobody_has_placed_has_no_distance_and_full_agreement_on_presence(self):
        right = agreement(shifted([(1.0, 0.0, 0.0)] * 3), NAMES).pairs[1]
        assert (right.landmark, right.cases, right.both_present, right.mean_mm) == (RIGHT, 3, 0, None)
        assert (right.presence_agreed, right.kappa) == (1.0, None)

    def test_only_cases_read_by_both_count_for_a_pair(self):
        readings = [
            *shifted([(1.0, 0.0, 0.0)] * 2),
            reading("z", anna=HERE, cleo=(2.0, 0.0, 0.0)),
            reading("y", ben=HERE),
        ]
        result = agreement(readings, [LEFT])
        assert {(pair.first, pair.second): pair.cases for pair in result.pairs} == {
            ("anna", "ben"): 2,
            ("anna", "cleo"): 1,
        }
        assert (result.compared, result.single) == (3, 1)

    def test_kappa_is_the_textbook_value(self):
        """20 both yes, 5 only the first, 10 only the second, 15 both no: 0.7 seen, 0.5 by chance."""
        first = np.array([True] * 25 + [False] * 25)
        second = np.array([True] * 20 + [False] * 5 + [True] * 10 + [False] * 15)
        assert cohens_kappa(first, second) == pytest.approx(0.4)
        assert cohens_kappa(first, first) == pytest.approx(1.0)
        assert cohens_kappa(first, ~first) == pytest.approx(-1.0)


class TestCases:
    def test_the_farthest_annotator_is_named_with_the_distance_from_the_consensus(self):
        (case,) = agreement([reading(anna=(0.0, 0.0, 0.0), ben=(0.0, 0.0, 0.0), cleo=(9.0, 0.0, 0.0))], [LEFT]).cases
        assert case.consensus_lps == (3.0, 0.0, 0.0)
        assert (case.farthest, case.farthest_mm, case.largest_distance_mm) == ("cleo", 6.0, 9.0)

    def test_of_two_annotators_neither_is_the_farthest(self):
        (case,) = agreement([reading(anna=(0.0, 0.0, 0.0), ben=(9.0, 0.0, 0.0))], [LEFT]).cases
        assert (case.farthest, case.farthest_mm) == (None, 4.5)

    def test_who_was_not_asked_has_not_said_that_it_is_missing(self):
        """Their annotation is from before the landmark joined the dataset."""
        new = {LEFT: HERE, "nasion": HERE}
        (case,) = agreement([replace(reading(), points={"anna": new, "ben": {LEFT: HERE}})], ["nasion"]).cases
        assert (case.present, case.missing, case.consensus_lps) == (("anna",), (), HERE)
        result = agreement([replace(reading(), points={"anna": new, "ben": {LEFT: HERE}})], [LEFT, "nasion"])
        assert [pair.landmark for pair in result.pairs] == [LEFT]

    def test_presence_is_discussed_first_then_the_widest_distance(self):
        readings = [
            reading("apart", anna=HERE, ben=(8.0, 0.0, 0.0)),
            reading("close", anna=HERE, ben=(1.0, 0.0, 0.0)),
            reading("disputed", anna=HERE, ben=None),
            reading("farther", anna=HERE, ben=(9.0, 0.0, 0.0)),
        ]
        result = agreement(readings, NAMES, limit_mm=5.0)
        assert [case.case_id for case in result.discuss] == ["disputed", "farther", "apart"]
        assert result.discuss[0].reasons == (f"{WORDS}: present for anna, missing for ben",)
        assert result.discuss[1].reasons == (f"{WORDS}: two points 9.0 mm apart",)

    def test_a_case_about_which_somebody_asks_is_discussed_also_where_nobody_else_has_read_it(self):
        readings = [
            reading("close", anna=HERE, ben=(1.0, 0.0, 0.0)),
            replace(reading("asked", anna=HERE), asking=("anna",)),
            replace(reading("apart", anna=HERE, ben=(9.0, 0.0, 0.0)), asking=("ben",)),
        ]
        result = agreement(readings, NAMES, limit_mm=5.0).discuss
        assert [(case.case_id, case.reasons[-1]) for case in result] == [
            ("apart", "ben asks a colleague"),
            ("asked", "anna asks a colleague"),
        ]

    def test_only_the_annotators_that_are_compared_ask(self):
        readings = [
            replace(reading("read", anna=HERE, ben=HERE, carl=HERE), asking=("ben", "carl")),
            replace(reading("hers", carl=HERE), asking=("carl",)),
        ]
        (case,) = agreement(readings, NAMES, ["anna", "ben"]).discuss
        assert (case.case_id, case.reasons) == ("read", ("ben asks a colleague",))

    def test_the_usual_limit_is_mean_and_spread_of_the_distances_between_two(self):
        distances = [1.0, 1.2, 0.8, 1.1, 0.9, 1.0, 1.3, 0.7, 1.0, 9.0]
        result = agreement(shifted([(d, 0.0, 0.0) for d in distances]), NAMES)
        assert result.limit_mm == pytest.approx(np.mean(distances) + 1.96 * np.std(distances, ddof=1))
        assert [case.case_id for case in result.discuss] == ["case-09"] and not result.limit_given

    def test_too_few_distances_give_no_usual_limit(self):
        assert agreement(shifted([(1.0, 0, 0)] * 4 + [(90.0, 0, 0)]), NAMES).limit_mm is None
        assert agreement(shifted([(1.0, 0, 0)] * 5 + [(90.0, 0, 0)]), NAMES).discuss[0].case_id == "case-05"


class TestRefusals:
    @pytest.mark.parametrize(
        ("annotators", "limit", "message"),
        [
            (["anna", "dora"], None, "dora has annotated no case; annotators here: anna, ben"),
            (["anna"], None, "needs two annotators, and only anna is compared"),
            (["anna", "anna"], None, "needs two annotators"),
            (None, 0.0, "0 mm is not a limit"),
            (None, math.nan, "nan mm is not a limit"),
        ],
    )
    def test_what_can_not_be_compared_is_said(self, annotators, limit, message):
        with pytest.raises(AgreementError, match=message):
            agreement([reading(anna=HERE, ben=HERE)], NAMES, annotators, limit)

    def test_annotators_without_a_common_case_are_refused(self):
        with pytest.raises(AgreementError, match="No case is annotated by two of anna, ben"):
            agreement([reading("a", anna=HERE), reading("b", ben=HERE)], NAMES)


@pytest.fixture
def dataset(tmp_path, case_volume) -> Dataset:
    """Seven cases by anna and ben; they differ on the presence in the last and by 12 mm in the one before."""
    made = Dataset.create(tmp_path / "set", NAMES)
    for number in range(7):
        case_id = made.add_case(case_volume, f"case-{number}")
        for who, shift in (("anna", 0.0), ("ben", 12.0 if number == 5 else 1.0)):
            left = None if number == 6 and who == "ben" else (30.0, number + shift, 0.0)
            status = {LEFT: "corrected" if left else "missing", RIGHT: "accepted"}
            made.save_annotation(case_id, who, {LEFT: left, RIGHT: (-30.0, 0.0, number / 2)}, status)
    return made


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return left.value.code


class TestReport:
    def test_the_command_writes_the_three_files_and_says_what_to_discuss(self, dataset, tmp_path, capsys):
        assert run("agreement", dataset.path, "--output", tmp_path / "out") == 0
        printed = capsys.readouterr()
        assert "7 cases with two or more of anna, ben; 0 with one" in printed.out
        assert re.findall(r"discuss \d\. (case-\d)", printed.out) == ["case-6", "case-5"]
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "agreement.csv", "agreement.html", "agreement.json"
        ]  # fmt: skip

    def test_one_damaged_file_is_named_and_the_others_are_compared(self, dataset, tmp_path, capsys):
        (dataset.case("case-0").folder / "annotations" / "ben.json").write_text("{")
        (dataset.case("case-1").folder / "case.json").write_text("{")
        assert run("agreement", dataset.path, "--output", tmp_path / "out") == 0
        printed = capsys.readouterr()
        assert "5 cases with two or more of anna, ben; 1 with one" in printed.out
        assert "case-1" in printed.err and "by ben is damaged" in printed.err

    def test_the_table_has_each_landmark_of_each_case_with_its_consensus(self, dataset, tmp_path):
        write_agreement(dataset, tmp_path / "out")
        with (tmp_path / "out" / "agreement.csv").open(newline="") as stream:
            rows = {(row["case"], row["landmark"]): row for row in csv.DictReader(stream)}
        assert len(rows) == 14
        apart = rows["case-5", LEFT]
        assert [float(apart[f"consensus_{axis}_mm"]) for axis in "lps"] == [30.0, 11.0, 0.0]
        assert (apart["largest_distance_mm"], apart["farthest_from_consensus_mm"]) == ("12.000", "6.000")
        assert (apart["discuss"], rows["case-6", LEFT]["discuss"], rows["case-0", LEFT]["discuss"]) == ("2", "1", "")
        disputed = rows["case-6", LEFT]
        assert (disputed["present"], disputed["missing"], disputed["consensus_l_mm"]) == ("anna", "ben", "")

    def test_the_numbers_in_the_file_are_those_that_were_computed(self, dataset, tmp_path):
        result = write_agreement(dataset, tmp_path / "out", limit_mm=3.0)
        document = json.loads((tmp_path / "out" / "agreement.json").read_text())
        assert document["schema_version"] == 1 and document["limit_mm"] == 3.0
        for written, pair in zip(document["pairs"], result.pairs, strict=True):
            assert written["mean_mm"] == pytest.approx(pair.mean_mm, abs=1e-3)
            assert written["limits"]["P"]["upper_mm"] == pytest.approx(pair.limits["P"].upper_mm, abs=1e-3)
        assert [entry["case_id"] for entry in document["discuss"]] == ["case-6", "case-5"]

    def test_the_page_needs_no_other_file_and_names_the_cases(self, dataset, tmp_path):
        write_agreement(dataset, tmp_path / "out")
        page = (tmp_path / "out" / "agreement.html").read_text()
        assert not re.search(r"(src|href)=\"(?!data:)", page)
        assert page.count("data:image/svg+xml;base64,") == 2
        assert "2 cases to discuss" in page and page.index("case-6: left") < page.index("case-5: left")

    def test_the_page_does_not_count_questions_among_the_cases_that_two_have_read(self, case_volume, tmp_path):
        dataset, points = Dataset.create(tmp_path / "asked", NAMES), {LEFT: (30.0, 0.0, 0.0), RIGHT: None}
        for number, readers in enumerate((("anna", "ben"), ("anna",), ("anna",))):
            case_id = dataset.add_case(replace(case_volume, array=case_volume.array + number))
            for who in readers:
                status = {LEFT: "accepted", RIGHT: "missing"}
                dataset.save_annotation(case_id, who, points, status, ask_colleague=len(readers) == 1)
        write_agreement(dataset, tmp_path / "out")
        page = (tmp_path / "out" / "agreement.html").read_text()
        assert "1 cases with two or more" in page and "<strong>2 cases to discuss</strong>" in page

    def test_a_consensus_of_some_annotators_is_not_called_that_of_training(self, dataset, tmp_path):
        same = "training and evaluation use the same."
        write_agreement(dataset, tmp_path / "all")
        assert same in (tmp_path / "all" / "agreement.html").read_text()
        points = {LEFT: (30.0, 20.0, 0.0), RIGHT: (-30.0, 0.0, 0.0)}
        dataset.save_annotation("case-0", "carl", points, dict.fromkeys(NAMES, "corrected"))
        write_agreement(dataset, tmp_path / "some", ["anna", "ben"])
        page = (tmp_path / "some" / "agreement.html").read_text()
        assert same not in page and "; carl left out: training and evaluation use the points of" in page

    def test_the_same_dataset_gives_the_same_bytes(self, dataset, tmp_path):
        for name in ("one", "two"):
            write_agreement(dataset, tmp_path / name)
        for file in (tmp_path / "one").iterdir():
            assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()

    def test_a_refusal_is_one_sentence_and_leaves_nothing(self, dataset, tmp_path, capsys):
        assert run("agreement", dataset.path, "--output", tmp_path / "out", "--annotators", "anna,dora") == 2
        assert capsys.readouterr().err == "dora has annotated no case; annotators here: anna, ben.\n"
        assert not (tmp_path / "out").exists()
