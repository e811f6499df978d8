"""What training minimises."""

import pytest
import torch
from carotid_training.training.losses import distance_loss, heatmap_loss, presence_loss, schedule_weights
from CarotidLandmarkLib.nets.chain import ScaleOutput


def output(position, logits=None, centre=(0.0, 0.0, 0.0), scale=1.0):
    logits = torch.zeros(1, 1, 1, 9, 9, 9) if logits is None else logits
    return ScaleOutput(
        scale_mm=scale,
        position_lps=torch.as_tensor(position).view(1, 1, 1, 3),
        covariance_mm2=torch.eye(3).view(1, 1, 1, 3, 3),
        peak=torch.zeros(1, 1, 1),
        descriptor=torch.zeros(1, 1, 1, 4),
        logits=logits,
        centre_lps=torch.tensor(centre).view(1, 1, 1, 3),
    )


PRESENT = torch.tensor([[True]])


@pytest.mark.parametrize(
    ("progress", "weights"),
    [(0.0, [1, 0, 0, 0]), (0.25, [0.75, 0.5, 0.5, 0.25]), (0.5, [0.5, 1, 1, 0.5]), (1.0, [0, 0, 0, 1])],
)
def test_the_paper_s_schedule_moves_the_weight_from_the_coarsest_to_the_finest_scale(progress, weights):
    assert schedule_weights("paper", 4, progress) == pytest.approx(weights)


def test_a_weight_that_was_zero_comes_back():
    """A schedule that multiplies would stay at zero for ever."""
    assert schedule_weights("paper", 4, 0.0)[1] == 0 and schedule_weights("paper", 4, 0.5)[1] == 1


def test_the_squared_distance_is_in_square_millimetres():
    loss = distance_loss(output([3.0, 4.0, 0.0]), torch.zeros(1, 1, 3), PRESENT, "squared")
    assert float(loss) == pytest.approx(25.0)


def test_the_robust_distance_grows_like_the_distance_and_not_like_its_square():
    near, far = (
        float(distance_loss(output([d, 0.0, 0.0], scale=4.0), torch.zeros(1, 1, 3), PRESENT, "robust"))
        for d in (40.0, 80.0)
    )
    assert far / near == pytest.approx(2.0, rel=0.1)


def test_an_absent_landmark_adds_nothing_and_no_nan():
    truth = torch.full((1, 1, 3), torch.nan)
    where = output([3.0, 4.0, 0.0], torch.zeros(1, 1, 1, 9, 9, 9, requires_grad=True))
    total = distance_loss(where, truth, ~PRESENT, "robust") + heatmap_loss(where, truth, ~PRESENT, [False], 1.0)
    assert float(total) == 0
    total.backward()
    assert where.logits.grad is None or torch.isfinite(where.logits.grad).all()


def test_the_heatmap_loss_is_least_where_the_peak_is_at_the_truth():
    axis = torch.arange(9.0) - 4
    truth = torch.tensor([[[1.0, -2.0, 3.0]]])

    def peak(x, y, z):
        squared = (axis[:, None, None] - z) ** 2 + (axis[:, None] - y) ** 2 + (axis - x) ** 2
        return (-0.5 * squared).view(1, 1, 1, 9, 9, 9)

    losses = {
        at: float(heatmap_loss(output([0.0] * 3, peak(*at)), truth, PRESENT, [False], 1.0))
        for at in ((1, -2, 3), (0, -2, 3), (1, -1, 3), (1, -2, 2), (-1, -2, 3))
    }
    assert min(losses, key=losses.get) == (1, -2, 3)
    mirrored = float(heatmap_loss(output([0.0] * 3, peak(-1, -2, 3)), truth, PRESENT, [True], 1.0))
    assert mirrored == pytest.approx(losses[(1, -2, 3)])


def test_a_truth_outside_the_patch_is_left_to_the_coarser_scale():
    truth = torch.tensor([[[7.0, 0.0, 0.0]]])
    assert float(heatmap_loss(output([0.0] * 3), truth, PRESENT, [False], 1.0)) == 0


def test_presence_is_scored_for_every_landmark():
    logit = torch.tensor([[4.0, -4.0]])
    right = presence_loss(logit, torch.tensor([[True, False]]))
    wrong = presence_loss(logit, torch.tensor([[False, True]]))
    assert float(right) < 0.05 and float(wrong) > 3
