"""The detector on real (small, untrained) nets: determinism, progress, cancel, devices, verdicts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from CarotidLandmarkLib.bundle import Architecture, Bundle, BundleMetadata, LandmarkSpec
from CarotidLandmarkLib.detection import DetectionSettings
from CarotidLandmarkLib.detector import CPU_VOXELS, Detector, DetectorSpec, DeviceError, choose_device, cpu_batch
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.nets import MultiScaleLocNet, Pyramid, ScaleOutput
from CarotidLandmarkLib.quality import share_elsewhere
from CarotidLandmarkLib.volume import Volume, VolumeError

LEFT, RIGHT = "left_carotid_bifurcation", "right_carotid_bifurcation"
SIDES = (LandmarkSpec(LEFT, "L bifurcation", RIGHT), LandmarkSpec(RIGHT, "R bifurcation", LEFT))
WIDTHS = ((4, 8, 8),) * 4
CALIBRATION = {"0.9": {name: {"factor": 2.0, "n": 20} for name in (LEFT, RIGHT)}}


def save_bundle(folder, presence_bias=4.0, calibration=CALIBRATION):
    torch.manual_seed(0)
    net = MultiScaleLocNet(Architecture(SIDES, widths=WIDTHS, patch_sizes=(24, 24, 24)))
    with torch.no_grad():
        for head in net.presence:
            head.weight.zero_()
            head.bias.fill_(presence_bias / len(net.presence))
    metadata = BundleMetadata(
        name="tiny", version="0.0.1", landmarks=SIDES, scales_mm=(4.0, 2.0, 1.0, 0.5),
        patch_sizes=(24, 24, 24), widths=WIDTHS,
        hu_window=(-200.0, 1000.0), noise_mm=5.0, architecture={}, torch_version=torch.__version__, lib_version="0",
        training={}, accuracy={}, calibration=calibration, intended_use="tests", licence="Apache-2.0",
    )  # fmt: skip
    return Bundle.save(folder / "tiny", metadata, net.state_dict(), "# tiny")


@pytest.fixture
def detector(tmp_path):
    return Detector(save_bundle(tmp_path), "cpu")


def scan(seed=0):
    generator = np.random.default_rng(seed)
    blocks = generator.normal(size=(12, 12, 12)) * 250
    array = np.kron(blocks, np.ones((4, 5, 5))).astype(np.int16)
    array[:, :6] = -1000
    affine = np.diag([1.5, 1.5, 2.0, 1.0])
    affine[:3, 3] = [-45.0, -45.0, -700.0]
    return Volume(array, affine, "scan")


@pytest.fixture(autouse=True)
def the_blocks_of_the_scan_are_no_noise(monkeypatch):
    monkeypatch.setattr("CarotidLandmarkLib.nets.search.noise_hu", lambda volume: 10.0)


def test_the_same_seed_gives_the_same_detection_and_another_seed_another(detector):
    one, same, other = (detector.detect(scan(), DetectionSettings(passes=6, seed=seed)) for seed in (1, 1, 2))
    assert one.landmarks == same.landmarks
    assert one.landmarks != other.landmarks
    assert one.seed == 1 and one.passes == 6 and one.device == "cpu"


def test_the_answer_is_the_mean_of_the_passes_and_the_spread_their_deviation(detector):
    result = detector.detect(scan(), DetectionSettings(passes=30))[LEFT]
    covariance, std = np.array(result.covariance_mm2), np.array(result.std_mm)
    assert np.all(np.linalg.eigvalsh(covariance) > 0)
    assert np.all(np.diag(covariance) >= std**2)  # the heatmaps' own spread comes on top
    assert result.confidence.level == 0.9


@pytest.mark.parametrize(
    "size, landmarks", [(32, SIDES), (56, SIDES), (24, (LandmarkSpec("c6", "C6", "c6"),)), (256, SIDES)]
)
def test_a_batch_of_passes_is_as_large_as_its_voxels_allow_and_never_empty(size, landmarks):
    architecture = Architecture(landmarks, widths=WIDTHS, patch_sizes=(size,) * 3)
    batch, voxels = cpu_batch(architecture), len(landmarks) * size**3
    assert batch == 1 or batch * voxels <= CPU_VOXELS
    assert (batch + 1) * voxels > CPU_VOXELS


def test_progress_names_its_steps_and_only_grows(detector, monkeypatch):
    monkeypatch.setattr("CarotidLandmarkLib.detector.CPU_VOXELS", 5 * 2 * 24**3)
    steps = []
    detector.detect(scan(), DetectionSettings(passes=12), progress=lambda words, share: steps.append((words, share)))
    words, shares = [w for w, _ in steps], [s for _, s in steps]
    assert words[0] == "pyramid" and "coarse" in words and "pass 6 of 12" in words and words[-1] == "done"
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1


@pytest.mark.parametrize("after", [0, 2, 5])
def test_ctrl_c_between_any_two_steps_ends_the_detection(detector, after):
    steps = []

    def progress(words, share):
        steps.append(words)
        if len(steps) > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detector.detect(scan(), DetectionSettings(passes=20), progress)
    assert len(steps) == after + 1


def test_a_constant_volume_is_rejected_with_a_reason(detector):
    grey = Volume(np.full((40, 40, 40), 40, np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    detection = detector.detect(grey, DetectionSettings(passes=4))
    assert detection.quality.verdict == "reject" and "same value" in detection.quality.reasons[0]


def test_a_landmark_that_the_model_does_not_see_is_missing_and_has_no_position(tmp_path):
    detection = Detector(save_bundle(tmp_path, presence_bias=-4.0), "cpu").detect(scan(), DetectionSettings(passes=4))
    for landmark in detection.landmarks:
        assert landmark.status == "missing" and landmark.position_lps_mm is None and landmark.confidence is None
        assert landmark.presence == pytest.approx(0.018, abs=1e-3)
    assert detection.quality.verdict == "reject"


@pytest.mark.parametrize(("presence", "status"), [(0.51, "detected"), (0.5, "detected"), (0.49, "missing")])
def test_a_landmark_that_is_more_likely_there_than_not_is_detected(tmp_path, presence, status):
    bundle = save_bundle(tmp_path, presence_bias=float(np.log(presence / (1 - presence))))
    detection = Detector(bundle, "cpu").detect(scan(), DetectionSettings(passes=2))
    assert {landmark.status for landmark in detection.landmarks} == {status}
    assert detection[LEFT].presence == pytest.approx(presence, abs=1e-3)


def test_a_point_beyond_the_scan_is_missing_however_sure_the_net_is(detector, monkeypatch):
    monkeypatch.setattr(Volume, "contains", lambda volume, point: False)
    detection = detector.detect(scan(), DetectionSettings(passes=2))
    assert {landmark.status for landmark in detection.landmarks} == {"missing"} and detection[LEFT].presence > 0.9


def test_the_deviation_of_the_passes_is_that_of_a_sample(detector, monkeypatch):
    monkeypatch.setattr("CarotidLandmarkLib.nets.search.CLEAR", float("-inf"))  # the scan as it is
    passes = []
    joined = ScaleOutput.joined
    monkeypatch.setattr(
        ScaleOutput, "joined", classmethod(lambda cls, parts: passes.append(joined(parts)) or passes[0])
    )
    result = detector.detect(scan(), DetectionSettings(passes=3))[LEFT]
    samples = passes[0].position_lps[0, 0].double().numpy()
    middle = samples.mean(axis=0)
    assert result.std_mm == pytest.approx(np.sqrt(((samples - middle) ** 2).sum(axis=0) / 2), rel=1e-4)


def test_a_note_of_reading_and_labels_of_the_bundle_travel_with_the_detection(detector):
    noted = replace(scan(), notes=("The axes were taken as left, posterior, superior.",))
    detection = detector.detect(noted, DetectionSettings(passes=2))
    assert detection.notes == ("The axes were taken as left, posterior, superior.",)
    assert detection.labels == {LEFT: "L bifurcation", RIGHT: "R bifurcation"}


@pytest.mark.parametrize(("degrees", "side"), [(40.0, "left"), (-40.0, "right")])
def test_that_a_rolled_patient_was_searched_upright_is_told(detector, monkeypatch, degrees, side):
    monkeypatch.setattr("CarotidLandmarkLib.nets.search.roll_to_undo", lambda pyramid: degrees)
    for _ in range(2):
        detection = detector.detect(scan(), DetectionSettings(passes=2))
        assert detection.notes == (
            f"The patient lies rolled by 40 degrees onto the {side} side: the search saw the scan turned upright.",
        )


def test_that_a_noisy_scan_was_searched_smoothed_is_told(detector, monkeypatch):
    monkeypatch.setattr("CarotidLandmarkLib.nets.search.noise_hu", lambda volume: 80.2)
    detection = detector.detect(scan(), DetectionSettings(passes=2))
    assert detection.notes == ("The scan is noisy (80 HU): the search saw it smoothed.",)


@pytest.mark.parametrize("refusal", [TypeError("no float64 on MPS"), NotImplementedError("no conv3d on MPS")])
def test_where_another_device_fails_the_cpu_takes_over_and_a_note_says_so(tmp_path, monkeypatch, refusal):
    def on_the_cpu_alone(volume, scales, device, *more):
        if device.type != "cpu":
            raise refusal
        return Pyramid(volume, scales, device, *more)

    detector = Detector(save_bundle(tmp_path), "cpu")
    usual = detector.detect(scan(), DetectionSettings(passes=2))
    monkeypatch.setattr("CarotidLandmarkLib.detector.Pyramid", on_the_cpu_alone)
    monkeypatch.setattr(detector, "_device", torch.device("mps"))
    found = detector.detect(scan(), DetectionSettings(passes=2))
    assert (found.landmarks, found.device) == (usual.landmarks, "cpu")
    assert f"mps failed ({refusal}); the CPU took over." in found.notes


def test_a_device_that_is_not_there_is_refused_in_a_sentence(tmp_path):
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="not available here"):
            Detector(save_bundle(tmp_path), "cuda")
    with pytest.raises(DeviceError, match="is not a device"):
        choose_device("quantum")


def test_a_volume_that_can_not_be_hu_is_refused_before_anything_runs(detector):
    steps = []
    for run in (detector.detect, detector.examine):
        with pytest.raises(VolumeError):
            run(Volume(np.random.rand(30, 30, 30).astype(np.float32), np.eye(4)), progress=steps.append)
    assert not steps


def test_a_worker_refuses_a_model_that_was_calibrated_anew_though_its_weights_are_the_same(tmp_path):
    bundle = save_bundle(tmp_path)
    spec = DetectorSpec.of(str(bundle.path), bundle, "cpu")
    assert spec.open().bundle.metadata == bundle.metadata
    Bundle.save(bundle.path, replace(bundle.metadata, version="0.0.2"), bundle.state, "# tiny")
    with pytest.raises(UserError, match="is another one on"):
        spec.open()


@pytest.mark.parametrize("passes", [0, 1])
def test_fewer_than_two_passes_are_refused(detector, passes):
    with pytest.raises(ValueError, match="At least 2 passes"):
        detector.detect(scan(), DetectionSettings(passes=passes))


def test_a_level_beyond_the_calibration_is_refused(tmp_path):
    detector = Detector(save_bundle(tmp_path), "cpu")
    with pytest.raises(ValueError, match="calibrated up to 90%"):
        detector.detect(scan(), DetectionSettings(level=0.99))


@pytest.mark.parametrize(("calibration", "presence", "told"), [({}, 4, 1), (CALIBRATION, 4, 0), ({}, -4, 0)])
def test_regions_that_nobody_has_calibrated_are_called_so_where_there_are_any(tmp_path, calibration, presence, told):
    notes = Detector(save_bundle(tmp_path, presence, calibration), "cpu").detect(scan(), DetectionSettings(2)).notes
    assert sum("regions of this model are not calibrated and may be too small" in note for note in notes) == told


def test_only_places_far_from_the_one_taken_count_as_elsewhere():
    places = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 4.0], [0.0, 0.0, 20.0]])
    assert share_elsewhere(places, np.array([9.0, 9.0, 0.0])) < 1e-6
    assert share_elsewhere(places, np.array([9.0, 0.0, 9.0])) == pytest.approx(0.5)


@pytest.mark.parametrize(("bright", "seen"), [(11, True), (9, False)])
def test_contrast_is_what_a_tenth_of_the_voxels_within_6_mm_have(detector, monkeypatch, bright, seen):
    radii = []

    def statistics(pyramid, centre_lps, radius_mm):
        radii.append(radius_mm)
        return torch.tensor([400.0] * bright + [40.0] * (100 - bright))

    monkeypatch.setattr(Pyramid, "statistics", statistics)
    reasons = detector.detect(scan(), DetectionSettings(passes=2)).quality.reasons
    assert set(radii) == {6.0}
    assert any("no contrast agent" in reason for reason in reasons) != seen


def test_a_place_counts_as_another_one_beyond_5_mm():
    for distance, share in ((4.9, 0.0), (5.1, 0.5)):
        places = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]])
        assert share_elsewhere(places, np.array([9.0, 9.0])) == pytest.approx(share)
