"""Model bundles: what is saved is loaded, and one that is damaged, too new or altered is refused with the reason."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import time
from dataclasses import replace

import pytest
import torch
from CarotidLandmarkLib import files
from CarotidLandmarkLib.bundle import (
    Bundle,
    BundleError,
    BundleMetadata,
    LandmarkSpec,
    available_bundles,
    default_bundle,
    is_name,
    models_directory,
    open_bundle,
    places,
)
from CarotidLandmarkLib.errors import UserError

LEFT, RIGHT = "left_carotid_bifurcation", "right_carotid_bifurcation"
FACTOR = {"factor": 1.5, "n": 40}
METADATA = BundleMetadata(
    name="tiny",
    version="1.2.0",
    landmarks=(LandmarkSpec(LEFT, "L bifurcation", RIGHT), LandmarkSpec(RIGHT, "R bifurcation", LEFT)),
    scales_mm=(4.0, 2.0, 1.0, 0.5),
    patch_sizes=(40, 40, 32),
    widths=((8, 16, 32), (8, 16, 32), (8, 16, 32), (8, 16, 32)),
    hu_window=(-200.0, 800.0),
    noise_mm=5.0,
    architecture={"mirrored": True, "pooling": "blur", "heatmap": "softmax"},
    torch_version="2.13.0",
    lib_version="0.1.0",
    training={"necks": 100},
    accuracy={"mean_mm": 1.0},
    calibration={"0.9": {LEFT: FACTOR, RIGHT: FACTOR}},
    intended_use="Research.",
    licence="Apache-2.0",
)


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "net.0.weight": torch.randn(4, 2, 3, generator=generator),
        "net.0.bias": torch.randn(4, generator=generator),
    }


@pytest.fixture
def saved(tmp_path) -> Bundle:
    return Bundle.save(tmp_path / "tiny", METADATA, state(), "# Tiny\n")


def edit_metadata(bundle: Bundle, **changes) -> None:
    path = bundle.path / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_saved_is_loaded(saved):
    loaded = Bundle.load(saved.path)
    assert loaded.metadata == replace(METADATA, weights_sha256=loaded.metadata.weights_sha256)
    assert len(loaded.metadata.weights_sha256) == 64
    assert loaded.card == "# Tiny\n"
    assert set(loaded.state) == set(state())
    assert all(torch.equal(loaded.state[name], tensor) for name, tensor in state().items())


def test_tensors_that_share_or_stride_their_memory_are_saved_whole(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    loaded = Bundle.load(Bundle.save(tmp_path / "b", METADATA, {"a": base, "b": base.T, "c": base}, "").path)
    assert torch.equal(loaded.state["b"], base.T)
    assert torch.equal(loaded.state["c"], base)


def test_weights_that_were_exchanged_are_refused(saved):
    other = Bundle.save(saved.path.parent / "other", METADATA, {"net.0.weight": torch.zeros(3)}, "")
    (saved.path / "weights.safetensors").write_bytes((other.path / "weights.safetensors").read_bytes())
    with pytest.raises(BundleError, match=r"^The weights of model bundle tiny .*sha256 differs.*\.$"):
        Bundle.load(saved.path)


def test_a_bundle_of_the_first_format_has_one_patch_size_for_every_finer_scale(saved):
    document = json.loads((saved.path / "metadata.json").read_text())
    del document["patch_sizes"]
    document |= {"format_version": 1, "patch_size": 56}
    (saved.path / "metadata.json").write_text(json.dumps(document))
    assert Bundle.load(saved.path).metadata.patch_sizes == (56, 56, 56)


def test_a_bundle_newer_than_the_code_is_refused_even_when_its_fields_changed(saved):
    (saved.path / "metadata.json").write_text(json.dumps({"format_version": 3, "nets": []}))
    with pytest.raises(BundleError, match="format version 3, newer than this program"):
        Bundle.load(saved.path)


@pytest.mark.parametrize("name", ["metadata.json", "weights.safetensors", "MODEL_CARD.md"])
def test_a_bundle_with_a_file_missing_is_refused_by_the_file_s_name(saved, name):
    (saved.path / name).unlink()
    with pytest.raises(BundleError, match=f"has no {name}"):
        Bundle.load(saved.path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BundleError, match="no model bundle at"):
        Bundle.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scales_mm": [1.0, 2.0, 4.0, 8.0]}, "coarse to fine"),
        ({"widths": [[8]]}, "widths"),
        ({"hu_window": [800, -200]}, "hu_window"),
        ({"hu_window": [-1e300, 1e300]}, "hu_window must be"),
        ({"patch_sizes": [10**9] * 3}, "patch_sizes must be 8 to 256[)]; get the bundle again"),
        ({"landmarks": [{"name": "a", "label": "A", "mirror": "b"}]}, "mirror"),
        ({"landmarks": [{"name": n, "label": n, "mirror": "b"} for n in "ab"]}, "whose own mirror is another landmark"),
        ({"landmarks": [{"name": "a"}]}, "damaged"),
        ({"landmarks": 3}, "damaged"),
        ({"patch_sizes": [40, "big", 32]}, "damaged"),
        ({"format_version": None}, "format_version"),
        *(
            ({"calibration": calibration}, "calibration has no factor for a level and landmark")
            for calibration in (
                {"0.9": {}},
                {"0.9": {LEFT: FACTOR}},
                {"0.9": {LEFT: FACTOR, RIGHT: {"factor": "1.5", "n": 40}}},
                {"much": {LEFT: FACTOR, RIGHT: FACTOR}},
                {"0.9": {LEFT: FACTOR, RIGHT: {"factor": 0, "n": 40}}},
                {"0.9": {LEFT: FACTOR, RIGHT: {"factor": 1.5, "n": "many"}}},
            )
        ),
    ],
)
def test_metadata_that_contradicts_itself_is_refused(saved, changes, reason):
    edit_metadata(saved, **changes)
    with pytest.raises(BundleError, match=reason):
        Bundle.load(saved.path)


@pytest.mark.parametrize("text", ['{"format_version": 1, "name"', "[]", "\x00\x01", '{"format_version": 1}'])
def test_metadata_cut_short_is_refused_in_one_sentence(saved, text):
    (saved.path / "metadata.json").write_text(text)
    with pytest.raises(BundleError) as caught:
        Bundle.load(saved.path)
    assert str(caught.value).startswith("metadata.json of model bundle tiny")
    assert "\n" not in str(caught.value)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def test_pickled_weights_are_refused_and_never_unpickled(saved):
    weights = pickle.dumps({"net": Bomb()})
    (saved.path / "weights.safetensors").write_bytes(weights)
    edit_metadata(saved, weights_sha256=hashlib.sha256(weights).hexdigest())
    with pytest.raises(BundleError, match="weights of model bundle tiny are damaged"):
        _ = Bundle.load(saved.path).state


def test_weights_of_a_bundle_that_was_saved_anew_since_it_was_opened_are_not_taken_for_its_own(saved):
    opened = Bundle.load(saved.path)
    Bundle.save(saved.path, METADATA, {"net.0.weight": torch.zeros(3)}, "")
    with pytest.raises(BundleError, match=r"^The model tiny was exchanged while it was in use; begin again\.$"):
        _ = opened.state


@pytest.mark.parametrize("name", ["con", "NUL.v2", "com1", "model.", "my model", "-x", ""])
def test_a_name_that_no_folder_can_have_everywhere_names_no_new_model(name):
    assert not is_name(name)
    assert is_name("console") and is_name("carotid-small-0.7.1") and is_name("aux-2")


def test_saving_over_something_that_is_not_a_bundle_is_refused_and_touches_nothing(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="not a model bundle"):
        Bundle.save(tmp_path, METADATA, state(), "")
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.txt"]


def test_saving_again_replaces_the_bundle_and_leaves_nothing_beside_it(saved):
    Bundle.save(saved.path, replace(METADATA, version="2.0.0"), {"w": torch.ones(1)}, "new")
    assert Bundle.load(saved.path).metadata.version == "2.0.0"
    assert [item.name for item in saved.path.parent.iterdir()] == ["tiny"]


def test_what_file_managers_leave_in_a_bundles_folder_is_no_reason_to_refuse_it_after_a_training(saved):
    for name in (".DS_Store", "._metadata.json", "desktop.ini"):
        (saved.path / name).write_text("mine")
    (saved.path / "@eaDir").mkdir()
    Bundle.save(saved.path, replace(METADATA, version="2.0.0"), state(), "new")
    assert Bundle.load(saved.path).metadata.version == "2.0.0"
    assert (saved.path / ".DS_Store").read_text() == "mine"  # as whatever else is hidden there
    (saved.path / ".git").mkdir()
    with pytest.raises(BundleError, match="not a model bundle"):
        Bundle.save(saved.path, METADATA, state(), "")


def test_a_bundle_is_on_the_disk_before_the_one_that_it_replaces_is_gone(saved, monkeypatch):
    """A power cut could leave weights that were empty, and no other ones."""
    synced, sync, remove = [], os.fsync, shutil.rmtree

    def removed(folder, **how):
        files = [*saved.path.iterdir(), saved.path, saved.path.parent]
        synced.append({path.stat().st_ino for path in files} <= set(synced))
        remove(folder, **how)

    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_ino), sync(descriptor)))
    monkeypatch.setattr(shutil, "rmtree", removed)
    Bundle.save(saved.path, replace(METADATA, version="2.0.0"), state(), "new")
    assert synced[-1] is True or os.name != "posix"


def test_saving_that_fails_leaves_the_old_bundle_whole(saved, monkeypatch):
    monkeypatch.setattr(BundleMetadata, "to_json", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Bundle.save(saved.path, METADATA, {"w": torch.ones(1)}, "new")
    assert Bundle.load(saved.path).card == "# Tiny\n"
    assert [item.name for item in saved.path.parent.iterdir()] == ["tiny"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Of a user with a model of their own, ``mine`` 1.2.0."""
    monkeypatch.setattr(places, "resources_directory", lambda: tmp_path)
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "home"))
    return Bundle.save(models_directory() / "mine", METADATA, state(), "").path


def killed_save(path, version: str) -> None:
    """What is left by a program that was killed between the two renames of a bundle that it saves anew."""
    new = Bundle.save(path.parent / f".tmp-{'b' * 12}-{path.name}", replace(METADATA, version=version), state(), "")
    path.rename(path.parent / f"{new.path.name}-old")


@pytest.mark.parametrize("opened", [True, False])
def test_a_model_that_a_killed_program_had_taken_away_is_there_again_and_the_half_of_a_save_is_none(home, opened):
    killed_save(home, "2.0.0")
    found = open_bundle("mine") if opened else available_bundles()[-1]
    assert found.path == home and found.metadata.version == "1.2.0"
    assert [each.path for each in available_bundles()] == [home]


def test_saving_anew_removes_what_a_killed_save_of_that_model_left_an_hour_ago(home):
    other = home.parent / f".tmp-{'c' * 12}-other"
    other.mkdir()
    for number in range(2):
        killed_save(home, "2.0.0")
        for path in list(home.parent.rglob("*")):
            os.utime(path, (time.time() - 7200 * number,) * 2)
        Bundle.save(home, replace(METADATA, version="3.0.0"), state(), "")
        assert open_bundle("mine").metadata.version == "3.0.0"
        assert (home.parent / f".tmp-{'b' * 12}-mine").exists() == (number == 0)
    assert sorted(path.name for path in home.parent.iterdir()) == [other.name, "mine"]


def test_a_save_under_way_that_was_taken_for_a_killed_one_is_done_all_the_same(home, monkeypatch):
    move = files._move

    def watched(source, target):
        move(source, target)
        if source == home:
            monkeypatch.setattr(files, "_move", move)
            assert open_bundle("mine").metadata.version == "1.2.0"

    monkeypatch.setattr(files, "_move", watched)
    Bundle.save(home, replace(METADATA, version="2.0.0"), state(), "")
    assert open_bundle("mine").metadata.version == "2.0.0"
    assert [path.name for path in home.parent.iterdir()] == ["mine"]


def test_the_newest_bundled_model_is_the_default_and_a_damaged_one_is_named_in_the_log(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(places, "resources_directory", lambda: tmp_path)
    for version in ("1.9.0", "1.10.0"):
        Bundle.save(tmp_path / "Models" / f"m-{version}", replace(METADATA, version=version), state(), "")
    assert default_bundle().metadata.version == "1.10.0"
    (tmp_path / "Models" / "m-1.9.0" / "weights.safetensors").write_bytes(b"")
    assert [bundle.path.name for bundle in available_bundles()] == ["m-1.10.0"]
    assert "m-1.9.0" in caplog.text


def test_the_shipped_models_are_here_though_nobody_can_say_where_the_users_own_lie(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(places, "resources_directory", lambda: tmp_path)
    shipped = Bundle.save(tmp_path / "Models" / "shipped", METADATA, state(), "")
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", "~/mine")
    assert [each.path for each in available_bundles()] == [shipped.path]  # Slicer's panel opens with them
    assert "CAROTID_LANDMARK_HOME" in caplog.text
    with pytest.raises(UserError, match="CAROTID_LANDMARK_HOME"):
        open_bundle("shipped")


def test_a_users_own_model_is_listed_after_the_shipped_ones_and_opens_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)  # the run that it comes from
    monkeypatch.chdir(tmp_path)
    shipped = Bundle.save(tmp_path / "Models" / "shipped", METADATA, state(), "")
    monkeypatch.setattr(places, "resources_directory", lambda: tmp_path)
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "home"))
    assert [each.path for each in available_bundles()] == [shipped.path]
    mine = Bundle.save(models_directory() / "mine", replace(METADATA, version="9.0"), state(), "")
    assert [each.path for each in available_bundles()] == [shipped.path, mine.path]
    assert open_bundle("mine").path == mine.path and open_bundle("shipped").path == shipped.path
    assert default_bundle().path == shipped.path  # one's own model is chosen, never slipped in


def test_no_bundled_model_is_said_plainly(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "resources_directory", lambda: tmp_path)
    with pytest.raises(BundleError, match="No model came with this installation"):
        default_bundle()
