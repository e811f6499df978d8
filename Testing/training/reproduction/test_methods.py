"""The baselines of Table 1: their targets are right, they learn, and they beat a constant by far."""

from __future__ import annotations

from dataclasses import replace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from carotid_training.batches.batch import SampleBatch
from carotid_training.reproduction.field import FieldBatches, augmented, field_middles
from carotid_training.reproduction.module import WARMUP_STEPS, Crops, FieldModule, StagedChain, data_of, module_of
from carotid_training.reproduction.nets import (
    FIELD_MM,
    GAUSSIAN_SD_MM,
    HeatmapUNet,
    PatchNet,
    SingleScaleLocNet,
    cut_field,
    gaussians,
    signed_log,
)
from carotid_training.reproduction.predict import ask_chain, mean_offsets
from carotid_training.reproduction.protocol import METHODS, Protocol, read_protocol
from carotid_training.training.augment import Augmentation
from carotid_training.training.view import BatchView
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.landmarks import CAROTID_BIFURCATIONS
from CarotidLandmarkLib.nets.locnet import centre_of_mass
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ...full_disk import room_for
from ..ball_scans import PLACES, scan_of_balls, write_cohort
from ..balls import batch_of_balls

NAMES = [landmark.name for landmark in CAROTID_BIFURCATIONS]
PLACE = st.tuples(*[st.floats(-20, 20)] * 3)
SIDE = 32


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Five scans to learn and three to validate on."""
    folder = tmp_path_factory.mktemp("balls")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAROTID_CACHE", str(folder / "cache"))
        yield write_cohort(folder / "cohort", {"train": 5, "validation": 3})


def batches(cohort, split="train") -> FieldBatches:
    return FieldBatches(SIDE, cohort, split, 1, NAMES)


def every_case(cohort) -> list[SampleBatch]:
    """The training cases, in order, as batches of one."""
    of = batches(cohort)
    return [of.of([case]) for case in of.cases]


def errors(net: nn.Module, cases: list[SampleBatch]) -> torch.Tensor:
    """Of all landmarks of the cases, mm [n]."""
    distances = []
    with torch.no_grad():
        for batch in cases:
            view, middles = BatchView(batch), field_middles(batch)
            values = view.patches(FIELD_MM, middles[:, None, None], SIDE)[:, 0, 0]
            distances.append((middles[:, None] + net.locate(values).offset_mm - batch.landmarks_lps).norm(dim=-1))
    return torch.cat(distances).flatten()


def overfitted(net: nn.Module, cohort, steps: int, rate: float, crops: Crops | None = None) -> FieldModule:
    """The module after so many steps on the five training scans, without augmentation; the last steps are smaller."""
    module = FieldModule(net, CAROTID_BIFURCATIONS, learning_rate=rate, crops=crops)
    samples = every_case(cohort)
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    fade = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: min(1.0, 3.3 * (1 - done / steps)))
    for step in range(steps):
        random = torch.Generator().manual_seed(step)
        loss = module.net.loss(*module.crops_of(BatchView(samples[step % len(samples)]), random))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        fade.step()
    return module


LEARNERS = {
    "heatmap": (lambda: HeatmapUNet((4, 8, 8), 2), 240, 5e-3, None),
    "single": (lambda: SingleScaleLocNet((4, 8, 8), 2), 240, 5e-3, None),
    "patches": (lambda: PatchNet((4, 8, 16, 32), 2), 600, 3e-3, Crops(32, 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_a_baseline_learns_five_scans_and_beats_their_mean_by_far(cohort, name):
    make, steps, rate, crops = LEARNERS[name]
    torch.manual_seed(0)
    distances = errors(overfitted(make(), cohort, steps, rate, crops).net, every_case(cohort))
    truth = torch.cat([batch.landmarks_lps for batch in every_case(cohort)])
    constant = (truth - torch.as_tensor(mean_offsets(cohort)).float()).norm(dim=-1)
    assert distances.mean() < 0.35 * constant.mean()
    assert distances.mean() < 1.0


def test_the_constant_is_the_mean_place_of_the_training_scans_alone(cohort):
    truth = [batch.landmarks_lps[0] for batch in every_case(cohort)]
    assert torch.allclose(torch.as_tensor(mean_offsets(cohort)).float(), torch.stack(truth).mean(dim=0), atol=1e-3)


def test_a_field_shows_the_scan_at_one_millimetre_around_its_middle(cohort):
    values, middle = cut_field(scan_of_balls(PLACES), SIDE)
    assert values.shape == (1, 1, SIDE, SIDE, SIDE) and torch.allclose(middle, torch.zeros(1, 3), atol=1e-4)
    bright = (values - 1024 - 500).clamp(min=0)  # the bright ball alone
    left = bright[..., SIDE // 2 :]  # towards the patient's left
    places = centre_of_mass(left / left.sum(), FIELD_MM)[0, 0] + torch.tensor([SIDE / 4, 0.0, 0.0])
    assert torch.allclose(places, torch.tensor(PLACES[0]).float(), atol=0.2)


def test_a_batch_of_fields_has_the_voxels_and_the_truth_of_its_scans(cohort):
    one, other = batches(cohort).batch(0), batches(cohort).batch(0)
    assert torch.equal(one.boxes[FIELD_MM], other.boxes[FIELD_MM])  # the second time from the cache
    crops_of = {tuple(batches(cohort).batch(n).landmarks_lps.flatten().tolist()) for n in range(5)}
    assert len(crops_of) == 5
    assert torch.allclose(field_middles(one), torch.zeros(1, 3), atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(PLACE, PLACE)
def test_the_heatmaps_target_is_a_gaussian_at_the_landmark(left, right):
    places = torch.tensor([[left, right]])
    target = gaussians(places, (80, 80, 80), GAUSSIAN_SD_MM)
    assert target.max() <= 1
    total = target.sum((-3, -2, -1))
    centres = centre_of_mass(target / total[..., None, None, None], FIELD_MM)
    assert torch.allclose(centres, places, atol=0.05)
    # Its width: the sum of a Gaussian of height 1 is (2 pi)^1.5 sd^3.
    assert torch.allclose(total, torch.full_like(total, (2 * torch.pi) ** 1.5 * 6**3), rtol=0.01)


@settings(max_examples=15, deadline=None)
@given(PLACE)
def test_every_patch_points_at_the_landmark_and_one_holds_it(place):
    truth = torch.tensor([[place]])
    displacement, holds = PatchNet.targets(truth, (8, 8, 8))
    middles = PatchNet.middles_mm((8, 8, 8), truth.device)
    assert torch.allclose(middles + displacement[0, 0], truth[0, 0].expand_as(middles), atol=1e-4)
    assert holds.sum() == 1
    assert (displacement[holds].abs() <= PatchNet.PATCH_MM / 2 + 1e-4).all()


def test_patches_that_hold_the_landmark_decide_and_the_others_have_no_say():
    net = PatchNet((2, 2, 2, 2), 1)
    truth = torch.tensor([[[5.0, -9.0, 14.0]]])
    displacement, holds = PatchNet.targets(truth, (6, 6, 6))
    wrong = signed_log(torch.where(holds[..., None], displacement, displacement + 30))
    logits = torch.where(holds, 2.0, -2.0)
    net.forward = lambda values: (wrong, logits)
    assert torch.allclose(net.locate(torch.zeros(0)).offset_mm, truth, atol=1e-4)
    net.forward = lambda values: (wrong, logits - 10)  # none says so: the likeliest is asked
    assert torch.allclose(net.locate(torch.zeros(0)).offset_mm, truth, atol=1e-4)


def test_a_patch_is_what_the_convolutions_pool():
    net = PatchNet((2, 2, 2, 2), 2)
    displacement, logits = net(torch.zeros(1, 1, 24, 32, 40))
    assert logits.shape == (1, 2, 3, 4, 5) and displacement.shape == (1, 2, 3, 4, 5, 3)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_augmentation_moves_the_balls_with_their_landmarks_and_swaps_mirrored_sides(cohort, seed):
    how = Augmentation(gain=0, offset_hu=0, noise_hu=0, shift_mm=3, rotation_degrees=8)
    batch = batches(cohort).batch(seed % 5)
    view = augmented(batch, how, [1, 0], torch.Generator().manual_seed(seed))
    centres = view.batch.landmarks_lps[:, None]  # [1, 1, 2, 3]: cubes around both landmarks, out of the one field
    cubes = view.patches(FIELD_MM, centres, 11)[0, 0, :, 0] - 1024
    left, right = cubes[:, 5, 5, 5].tolist()
    mirrored = view.affines_lps is not None and float(torch.linalg.det(view.affines_lps[0, :3, :3])) < 0
    bright, dark = (right, left) if mirrored else (left, right)
    assert bright == pytest.approx(900, abs=120) and dark == pytest.approx(-100, abs=120)
    # Left stays left: the landmark that is called left lies on the patient's left after mirroring, too.
    assert view.batch.landmarks_lps[0, 0, 0] > view.batch.landmarks_lps[0, 1, 0]


def test_crops_see_the_truth_from_their_own_middles_and_every_other_one_holds_a_landmark(cohort):
    module = FieldModule(PatchNet((2, 2, 2, 2), 2), CAROTID_BIFURCATIONS, crops=Crops(16, 6))
    batch = batches(cohort).batch(0)
    values, offsets, present = module.crops_of(BatchView(batch), torch.Generator().manual_seed(1))
    assert values.shape == (6, 1, 16, 16, 16) and present.all()
    assert torch.allclose(
        offsets[:, 0] - offsets[:, 1], batch.landmarks_lps[0, 0] - batch.landmarks_lps[0, 1], atol=1e-3
    )
    inside = (offsets.abs() <= 8).all(dim=-1).any(dim=1)
    assert inside[::2].all()


def test_an_absent_landmark_teaches_no_place(cohort):
    torch.manual_seed(0)
    values, truth = torch.rand(1, 1, 16, 16, 16) * 1000 + 1000, torch.tensor([[[1.0, 2.0, 3.0], [float("nan")] * 3]])
    present = torch.tensor([[True, False]])
    elsewhere = torch.tensor([[[1.0, 2.0, 3.0], [7.0, 7.0, 7.0]]])
    for net in (HeatmapUNet((2, 4), 2), SingleScaleLocNet((2, 4), 2), PatchNet((2, 2, 2, 2), 2)):
        loss = net.loss(values, truth, present)
        assert torch.isfinite(loss) and torch.equal(loss, net.loss(values, elsewhere, present))
        assert not torch.equal(loss, net.loss(values, elsewhere, torch.tensor([[True, True]])))


class AtProgress(StagedChain):
    """Somewhere in its training."""

    progress = 0.0


@pytest.mark.parametrize(("progress", "stage"), [(0.0, 0), (0.3, 1), (0.6, 2), (0.8, 3), (1.0, 3)])
def test_a_chain_trained_in_steps_teaches_one_scale_at_a_time(progress, stage):
    protocol = Protocol(cases=1, steps=1, chain_widths=(2, 4), patch_size=16)
    whole = module_of("steps", protocol)
    chain = AtProgress(whole.architecture, whole.objective)
    AtProgress.progress = progress
    batch = batch_of_balls(coarse=(16, 16, 16))
    terms = chain.losses(batch, torch.Generator().manual_seed(0))
    torch.stack(list(terms.values())).sum().backward()
    taught = [any(p.grad is not None and p.grad.any() for p in net.parameters()) for net in chain.net.nets]
    assert taught == [n == stage for n in range(4)]


def test_end_to_end_the_finest_distance_teaches_the_coarser_nets_too():
    protocol = Protocol(cases=1, steps=1, chain_widths=(2, 4), patch_size=16)
    chain = module_of("end_to_end", protocol)
    batch = batch_of_balls(coarse=(16, 16, 16))
    outputs = chain.net(BatchView(batch))
    (outputs[-1].position_lps - batch.landmarks_lps[:, :, None]).square().sum().backward()
    # The ball is a pyramid away from an untrained net: whether the gradient is large does not matter, but it flows.
    assert all(next(iter(net.parameters())).grad is not None for net in chain.net.nets)


@pytest.mark.parametrize("heatmap", ["softmax", "relu"])
def test_a_chains_map_is_what_its_place_was_read_from(heatmap):
    net = module_of("end_to_end", Protocol(cases=1, steps=1, chain_widths=(2, 4), patch_size=16, heatmap=heatmap)).net
    with torch.inference_mode():
        answers = ask_chain(net, 1, 0, scan_of_balls(PLACES), "cpu")
    for landmark, drawn in zip(answers.landmarks, answers.maps, strict=True):
        read = centre_of_mass(torch.from_numpy(drawn.values), drawn.spacing_mm).numpy() + drawn.middle_lps
        np.testing.assert_allclose(read, landmark.position_lps_mm, atol=1e-3)


def test_rows_differ_in_what_the_paper_says_and_begin_with_the_same_weights():
    protocol = Protocol(cases=1, steps=1, chain_widths=(2, 4))
    steps, whole, noise, taught = (module_of(key, protocol) for key in ("steps", "end_to_end", "noise", "taught"))
    assert noise.architecture == taught.architecture
    assert noise.objective == replace(taught.objective, teacher_until=0.0) and taught.objective.teacher_until == 0.75
    assert replace(noise.architecture, noise_mm=0.0) == whole.architecture == steps.architecture
    assert noise.architecture.noise_mm == 5.0
    assert (whole.objective.schedule, whole.objective.distance, whole.objective.heatmap_weight) == (
        "paper",
        "squared",
        0,
    )
    for other in (whole, noise, taught):
        assert all(torch.equal(a, b) for a, b in zip(steps.parameters(), other.parameters(), strict=True))


def rates(key: str, steps: int) -> np.ndarray:
    """The learning rate at every step of a row's training, as a share of the protocol's."""
    protocol = Protocol(cases=1, steps=steps, chain_widths=(2, 4), our_widths=((2, 4), (2, 4)))
    module = module_of(key, protocol)
    module.trainer = pl.Trainer(accelerator="cpu", max_steps=steps, logger=False, enable_checkpointing=False)
    how = module.configure_optimizers()
    factors = []
    for _ in range(steps):
        factors.append(how["optimizer"].param_groups[0]["lr"] / protocol.learning_rate)
        how["optimizer"].step()
        how["lr_scheduler"]["scheduler"].step()
    return np.array(factors)


@pytest.mark.parametrize("key", ["heatmap", "single", "patches", "end_to_end", "noise", "ours"])
def test_the_learning_rate_of_every_row_falls_to_a_hundredth(key):
    factors = rates(key, 400)
    after_warmup = factors[WARMUP_STEPS:]
    assert factors.max() > 0.8 and factors[-1] == pytest.approx(0.01)
    assert (np.diff(after_warmup) <= 0).all()


def test_every_scale_that_is_trained_in_steps_has_a_learning_rate_that_falls():
    quarters = rates("steps", 400).reshape(4, 100)
    assert quarters[:, 0] == pytest.approx(1.0) and quarters[:, -1] == pytest.approx(0.01)


def test_our_finer_nets_look_at_less_than_the_papers():
    protocol = Protocol(cases=1, steps=1, chain_widths=(2, 4), our_widths=((2, 4), (2, 4)))
    sizes = {key: module_of(key, protocol).architecture.patch_sizes for key in ("noise", "ours")}
    assert sizes == {"noise": (56,) * 3, "ours": (32,) * 3}


@pytest.mark.parametrize("key", ["patches", "ours"])
def test_batches_that_shared_memory_does_not_hold_end_a_training_and_are_not_waited_for(cohort, key):
    protocol = Protocol(cases=8, steps=1, field_voxels=SIDE, patch_voxels=16, workers=0)

    def first_batch(workers):
        data = data_of(key, replace(protocol, workers=workers), cohort.path)
        return next(iter(data.train_dataloader()["cases"]))

    first_batch(0)  # writes the cache
    with room_for(4096), pytest.raises(UserError, match=r"\(/dev/shm\) is too small"):
        first_batch(1)


def test_the_protocols_that_come_with_the_program_can_be_read():
    whole, small = read_protocol("table1"), read_protocol("table1-small")
    assert whole.cases == 263 and whole.methods == tuple(METHODS) and whole.field_voxels == 224
    assert len(whole.single_widths) == len(whole.chain_widths) + 1 and whole.single_widths[:4] == whole.chain_widths
    assert [2 * width for width in small.single_widths] == list(whole.single_widths)
    assert small.minutes * sum(method.trained for method in METHODS.values()) / 60 < 3
    assert small.field_voxels >= max(small.length_mm)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cases: 3", "minutes or of steps"),
        ("cases: 3\nsteps: 2\nminutes: 1", "one of the two"),
        ("cases: 3\nsteps: 2\nmethods: [magic]", "no method magic"),
        ("cases: 3\nsteps: 2\nfield_voxels: 100", "multiple of 16"),
        ("cases: 3\nsteps: 2\nour_patch_size: 42", "our_patch_size must be a multiple of 8"),
        ("cases: 0\nsteps: 2", "cases, minutes or steps"),
        ("cases: 3\nminutes: .nan", "minutes can not be nan"),
        ("cases: 3\nsteps: 2\nlearning_rate: .inf", "learning_rate can not be inf"),
        ("cases: 3\nsteps: 2\nlength_mm: [200, 100]", "length_mm is two lengths"),
        ("cases: 3\nsteps: 2\nseeds: [-1]", "seeds and cohort_seed are 0 to 255"),
        ("cases: 3\nsteps: 2\nseeds: [1, 1]", "seeds are one or more, each of them once"),
        ("cases: 3\nsteps: 2\nmethods: [ours, ours]", "methods are one or more, each of them once"),
        ("cases: 3\nsteps: 2\nmethods: []", "methods are one or more, each of them once"),
        ("cases: 3\nsteps: 2\npatch_widths: []", "widths are one or more"),
        ("cases: 3\nsteps: 2\nfield_voxels: -16", "field_voxels, patch_voxels and patch sizes"),
        ("cases: 3\nsteps: two", "is not a protocol"),
        ("cases: 3\nstepps: 2", "is not a protocol"),
        ("cases: [", "is not a protocol"),
    ],
)
def test_a_protocol_that_can_not_be_is_refused_in_a_sentence(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text + "\n")
    with pytest.raises(ValueError, match=words) as refused:
        read_protocol(str(path))
    assert "\n" not in str(refused.value)
