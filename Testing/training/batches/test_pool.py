"""Rendered necks that come back: far apart, often enough, and the same after an interruption."""

from collections import Counter
from functools import partial
from itertools import islice
from types import SimpleNamespace

import pytest
from carotid_training.batches import pool as pool_module
from carotid_training.batches.pool import POOL, POOL_START, Pool, pool_number
from carotid_training.batches.stream import NeckStream
from hypothesis import given
from hypothesis import strategies as st

from ..cohorts.test_synthesize import StandInStyles

TIMES = 12


def test_a_neck_that_comes_back_does_so_many_steps_later():
    last, gaps = {}, []
    for turn in range(20 * POOL):
        number = pool_number(turn, TIMES, POOL, POOL_START)
        gaps += [turn - last[number]] if number in last else []
        last[number] = turn
    assert sorted(gaps)[len(gaps) // 2] > POOL / 3


def test_every_neck_is_used_about_as_often_as_asked_for():
    uses = Counter(pool_number(turn, TIMES, POOL, POOL_START) for turn in range(40 * POOL * TIMES // 8))
    settled = [uses[number] for number in range(POOL_START + POOL, POOL_START + 3 * POOL)]
    assert sum(settled) / len(settled) == pytest.approx(TIMES, rel=0.1)
    assert min(settled) >= 1


@given(st.integers(0, 10**6), st.integers(2, 20))
def test_a_step_draws_from_the_last_necks_only(turn, times):
    newest = turn // times + POOL_START
    assert max(0, newest - POOL) <= pool_number(turn, times, POOL, POOL_START) <= newest


@given(st.integers(0, 10**6))
def test_without_reuse_every_step_has_a_neck_of_its_own(turn):
    assert pool_number(turn, 1, POOL, POOL_START) == turn


def test_a_stream_begun_later_goes_on_as_if_it_had_never_stopped():
    def first_necks(start, steps):
        stream = NeckStream(1, styles=StandInStyles(), weights={"stand-in": 1.0}, start=start)
        return [batch.coarse_origin_lps.tolist() for batch in islice(Pool(stream, 2, 3), steps)]

    whole = first_necks(0, 3)
    assert first_necks(2, 1) == whole[2:]
    assert len({tuple(origin) for origins in whole for origin in origins}) > 3


def numbers_of(start, steps, workers):
    """The necks that each step of a training with so many workers is made of, by their numbers in the stream."""
    drawn = {}
    for worker in range(workers):
        stream = NeckStream(1, weights={"sculpted": 1.0}, start=start)
        pool, numbers = Pool(stream, 2, 1), []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pool_module, "get_worker_info", partial(SimpleNamespace, num_workers=workers, id=worker))
            patch.setattr(stream, "batch", numbers.append)
            patch.setattr(pool_module, "joined", lambda batches, step: step)
            for step in islice(pool, steps):
                drawn[step], numbers[:] = numbers[:], []
    return drawn


@pytest.mark.parametrize("start", [0, 3, 4, 5])
def test_with_several_workers_no_neck_comes_twice_because_a_run_was_interrupted(start):
    whole, rest = numbers_of(0, 6, 3), numbers_of(start, 4, 3)
    assert all(rest[step] == whole[step] for step in range(start, start + 9))
    assert len({number for step in range(18) for number in whole[step]}) == 36
