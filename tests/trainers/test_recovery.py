import numpy as np
import pytest

from trainers.data.pipeline import batch_of
from trainers.recovery import Recovery, fault_of, told


def results(losses, tokens=10.0, norm=1.0):
    return np.array([[loss * tokens, tokens, norm] for loss in losses], "float32")


def test_the_first_step_that_is_no_number_is_found():
    recovery = Recovery()
    assert recovery.first_fault(results([1, 2, 3]), scaled=False) is None
    assert recovery.first_fault(results([1, np.nan, 3]), scaled=False) == 1
    assert recovery.first_fault(results([1, 2, np.inf]), scaled=False) == 2


def test_a_gradient_that_is_not_finite_is_a_fault_unless_a_loss_scale_has_dealt_with_it():
    found = results([1, 2, 3], norm=np.inf)
    assert Recovery().first_fault(found, scaled=False) == 0
    assert Recovery().first_fault(found, scaled=True) is None


@pytest.mark.parametrize(
    ("loss", "norm", "scaled", "said"),
    [
        (2, np.inf, False, "the loss is 2, but its gradient's norm inf"),
        (2, np.nan, False, "the loss is 2, but its gradient's norm nan"),
        (np.nan, np.nan, False, "the loss is nan"),
        (9, 1.0, False, "the loss is 9"),
        (9, np.inf, True, "the loss is 9"),
    ],
)
def test_what_went_wrong_is_the_loss_or_its_gradient_with_its_value(loss, norm, scaled, said):
    (result,) = results([loss], norm=norm)
    fault = fault_of(result, scaled)
    assert told(fault) == said
    assert ("gradient_norm" in fault) == ("gradient" in said)


def test_a_leap_is_measured_from_the_report_before():
    recovery = Recovery(max_leap=0.5)
    assert recovery.first_fault(results([9]), scaled=False) is None
    assert recovery.first_fault(results([1.4, 1.5, 1.6]), scaled=False, level=1.0) == 2


def test_a_step_without_tokens_is_no_fault():
    found = results([0.0], tokens=0.0)
    assert Recovery(max_leap=0.1).first_fault(found, scaled=False, level=1.0) is None


@pytest.mark.parametrize("seed", range(20))
def test_steps_have_the_batches_that_are_left_in_order(seed):
    # Truth: lists, from which what is left out is removed.
    draw = np.random.default_rng(seed)
    recovery, batches = Recovery(), list(range(200))
    for _ in range(5):
        first = int(draw.integers(0, 40))
        last = first + int(draw.integers(0, 6))
        assert recovery.skip(first, last) == [batches[first], batches[last]]
        del batches[first : last + 1]
        assert [batch_of(step, recovery.skipped) for step in range(100)] == batches[:100]
    assert recovery.rollbacks == 5


def test_its_state_comes_back():
    recovery = Recovery(max_rollbacks=2)
    recovery.skip(3, 5)
    again = Recovery(max_rollbacks=2)
    again.restore(recovery.state())
    assert again.state() == recovery.state()
    assert not again.is_spent
    again.skip(7, 7)
    assert again.is_spent
