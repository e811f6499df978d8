"""The one strict reader: a dataclass is the format, and what does not fit is refused with the place and the reason."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pytest
from CarotidLandmarkLib.bundle import BundleError, BundleMetadata
from CarotidLandmarkLib.dataset import Dataset, DatasetError, read_draft, write_draft
from CarotidLandmarkLib.detection import Detection
from CarotidLandmarkLib.documents import DocumentError, build, csv_text, parse, write
from CarotidLandmarkLib.errors import UserError
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.safety.mutated_documents import NAMES, POINTS, make_targets, mutate


@dataclass(frozen=True)
class Part:
    name: str
    place: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name is empty")


@dataclass(frozen=True)
class Whole:
    kind: Literal["a", "b"]
    number: int
    sure: bool
    parts: tuple[Part, ...]
    sizes: dict[str, float]
    rest: Any = None


WHOLE = Whole("a", 3, True, (Part("x", (1.0, 2.0, 3.0)), Part("y")), {"m": 0.5}, {"free": [1]})

parts = st.builds(Part, st.text(min_size=1), st.none() | st.tuples(*[st.floats(-1e9, 1e9)] * 3))
wholes = st.builds(
    Whole,
    st.sampled_from(["a", "b"]),
    st.integers(),
    st.booleans(),
    st.lists(parts).map(tuple),
    st.dictionaries(st.text(), st.floats(-1e9, 1e9)),
    st.none() | st.text(),
)


@given(wholes)
def test_what_is_written_is_read_back(whole):
    assert build(Whole, parse(write(asdict(whole)))) == whole


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.sampled_from(["kind", "number", "sure", "parts", "sizes", "name", "place"])


@given(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner)))
def test_any_value_is_read_or_refused(value):
    try:
        assert isinstance(build(Whole, value), Whole)
    except DocumentError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "c"}, "kind is not one of a, b"),
        ({"number": 3.0}, "number is not a whole number"),
        ({"number": True}, "number is not a whole number"),
        ({"sure": 1}, "sure is not true or false"),
        ({"parts": {}}, "parts is not a list"),
        ({"parts": [{"name": 3}]}, "parts[0].name is not text"),
        ({"parts": [{"name": "x"}, {}]}, "parts[1].name is missing"),
        ({"parts": [{"name": ""}]}, "parts[0]: name is empty"),
        ({"parts": [{"name": "x", "place": [1, 2]}]}, "parts[0].place is not a list of 3"),
        ({"parts": [{"name": "x", "place": [1, 2, "3"]}]}, "parts[0].place[2] is not a number"),
        ({"parts": [{"name": "x", "place": [1, 2, 10**400]}]}, "parts[0].place[2] is not a finite number"),
        ({"sizes": [1]}, "sizes is not an object"),
        ({"sizes": {"m": None}}, "sizes.m is not a number"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(change, reason):
    with pytest.raises(DocumentError) as refusal:
        build(Whole, {**json.loads(write(asdict(WHOLE))), **change})
    assert str(refusal.value) == reason


def test_a_key_more_is_left_aside_and_one_less_has_its_default_or_is_refused():
    document = json.loads(write(asdict(WHOLE)))
    assert build(Whole, {**document, "new": 1}) == WHOLE
    del document["rest"]
    assert build(Whole, document).rest is None
    del document["kind"]
    with pytest.raises(DocumentError, match=r"^kind is missing$"):
        build(Whole, document)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("[1]", "it is not a JSON object"),
        ("[" * 100_000, "it is not JSON"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "it has b twice"),
        ('{"a": NaN}', "it holds NaN, which is not a number"),
        ('{"a": -Infinity}', "it holds -Infinity, which is not a number"),
        ('{"a": ' + "9" * 5000 + "}", "it is not JSON"),
    ],
)
def test_what_is_no_document_is_refused(text, reason):
    with pytest.raises(DocumentError) as refusal:
        parse(text)
    assert str(refusal.value) == reason


def test_a_table_has_its_columns_in_their_order_and_quotes_what_needs_it():
    assert csv_text(("a", "b"), [{"b": 1, "a": "x, y"}, {"a": None, "b": 2.5}]) == 'a,b\n"x, y",1\n,2.5\n'


@pytest.mark.parametrize("seed", range(4))
def test_every_format_of_the_program_reads_or_refuses_what_is_damaged(tmp_path, seed):
    targets = {target.name: target.path for target in make_targets(tmp_path)}
    dataset = Dataset.open(tmp_path / "dataset")
    case = dataset.case("c1")
    write_draft(case, "anna", {name: ("corrected", point) for name, point in POINTS.items()}, "")
    targets["draft"] = case.folder / "annotations" / "anna.draft.json"
    readers = {
        "bundle": lambda text: BundleMetadata.from_json(text),
        "detection": lambda text: Detection.from_json(text),
        "dataset": lambda text: Dataset.open(dataset.path),
        "case": lambda text: dataset.case("c1"),
        "prediction": lambda text: case.prediction(),
        "annotation": lambda text: case.annotation("anna"),
        "draft": lambda text: read_draft(case, "anna"),
    }
    draw = random.Random(seed)
    refused = 0
    for name, path in targets.items():
        whole = path.read_text()
        for _ in range(100):
            damaged = mutate(whole, draw)
            path.write_bytes(damaged)
            try:
                readers[name](damaged.decode(errors="replace"))
            except UserError as error:
                assert isinstance(error, (DocumentError, DatasetError, BundleError)) and "\n" not in str(error)
                refused += 1
        path.write_text(whole)
    assert set(NAMES) == set(dataset.landmarks) and refused > 300
