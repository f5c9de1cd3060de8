import keras
import pytest

from trainers.callbacks.watching import check_callbacks
from trainers.errors import UserError


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate),
        keras.callbacks.ReduceLROnPlateau(),
    ],
)
def test_who_would_set_the_learning_rate_is_refused_and_told_of_the_schedule(callback):
    name = type(callback).__name__
    with pytest.raises(UserError, match=f"{name} cannot .* choose a train.schedule"):
        check_callbacks([keras.callbacks.EarlyStopping(), callback])


def test_early_stopping_is_refused_only_where_it_would_restore_weights():
    check_callbacks([keras.callbacks.EarlyStopping()])
    with pytest.raises(UserError, match="restore_best_weights: leave it out"):
        check_callbacks([keras.callbacks.EarlyStopping(restore_best_weights=True)])
