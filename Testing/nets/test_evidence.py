"""Evidence: what the chain did, one row a landmark."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from CarotidLandmarkLib.nets import Pyramid, evidence_of

from .untrained import small_net, textured_scan


@pytest.fixture(scope="module")
def seen():
    net, torch_noise = small_net(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        pyramid = Pyramid(textured_scan(), net.architecture.scales_mm)
        outputs, _ = net.search(pyramid)
        noise = 2 * torch.rand((1, 2, 6, 3), generator=torch_noise) - 1
        outputs.append(net.finer(pyramid, 3, outputs[-1].position_lps + noise))
        return outputs, net.presence_logit(outputs)


def test_each_number_is_what_the_words_say(seen):
    outputs, logit = seen
    rows = evidence_of(outputs, logit, [0.25, 0.0])
    assert rows.shape == (2, 1 + 4 + 2 + 3 + 1)
    for n, row in enumerate(rows):
        assert row[0] == pytest.approx(float(logit[0, n]))
        assert row[1:5] == pytest.approx([float(scale.peak[0, n].mean()) for scale in outputs], abs=1e-5)
        answers = outputs[-1].position_lps[0, n].double()
        spread = answers.var(dim=0, unbiased=False).sum().sqrt()
        assert row[6] == pytest.approx(np.log(max(0.1, float(spread))), abs=1e-5)
        places = [scale.position_lps[0, n].double().mean(dim=0) for scale in outputs]
        moved = [max(0.1, float((after - before).norm())) for before, after in pairwise(places)]
        assert row[7:10] == pytest.approx(np.log(moved), abs=1e-5)
    assert rows[:, -1] == pytest.approx([0.5, 0.0])


def test_a_scan_that_lies_elsewhere_gives_the_same_evidence():
    net, rows = small_net(), []
    for centre in ((0.0, 0.0, 0.0), (40.0, -300.0, 700.0)):
        with torch.no_grad():
            outputs = net.unperturbed(Pyramid(textured_scan(centre_lps=centre), net.architecture.scales_mm))
            rows.append(evidence_of(outputs, net.presence_logit(outputs), [0.0, 0.0]))
    np.testing.assert_allclose(rows[0], rows[1], atol=0.02)
