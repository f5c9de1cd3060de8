import functools
from types import SimpleNamespace

import pytest

from trainers.errors import UserError
from trainers.experiment import Experiment
from zoo import DecoderLM, EncoderDecoder

SHORT = {"num_layers": 1, "width": 8, "num_heads": 2, "positions": "learned", "context_length": 4}
TWO_REPLICAS = SimpleNamespace(num_replicas_in_sync=2)


def experiment(family=DecoderLM, **settings):
    model = functools.partial(family, **SHORT)
    return Experiment(model, None, **{"batch_size": 8, "sequence_length": 4} | settings)


def make_model(*given, **settings):
    return experiment(*given, **settings).make_model(SimpleNamespace(vocabulary_size=9))


@pytest.mark.parametrize(
    "family, settings, said",
    [
        (DecoderLM, {"sequence_length": 5}, "SEQUENCE_LENGTH = 5: DecoderLM"),
        (DecoderLM, {"max_length": 6}, "Experiment.max_length = 6: DecoderLM"),
        (EncoderDecoder, {"source_length": 7}, "SOURCE_LENGTH = 7: EncoderDecoder"),
    ],
)
def test_rows_with_more_tokens_than_there_are_positions_are_refused(family, settings, said):
    with pytest.raises(UserError) as error:
        make_model(family, **settings)
    assert str(error.value) == (
        f"{said}.context_length has only 4 positions; raise it, or choose rotary positions"
    )


@pytest.mark.parametrize(
    "family, settings", [(DecoderLM, {"source_length": 7}), (EncoderDecoder, {"source_length": 4})]
)
def test_a_source_has_to_fit_only_a_model_that_reads_it(family, settings):
    make_model(family, max_length=4, **settings)


@pytest.mark.parametrize(
    "accumulation, settings, said",
    [
        (3, {}, "BATCH_SIZE = 8: must be a multiple of replicas times ACCUMULATION, 2 x 3"),
        (
            2,
            {"batch_tokens": 23},
            "BATCH_TOKENS = 23: its 5 rows must be a multiple of replicas times ACCUMULATION, 2 x 2",
        ),
        (
            1,
            {"evaluation_batch_size": 3},
            "Experiment.evaluation_batch_size = 3: must be a multiple of the 2 replicas",
        ),
        (None, {"batch_size": 7}, "BATCH_SIZE = 7: must be a multiple of the 2 replicas"),
    ],
)
def test_rows_that_cannot_be_shared_are_refused_by_the_setting_that_gave_them(
    accumulation, settings, said
):
    with pytest.raises(UserError) as error:
        experiment(**settings).check_shared(TWO_REPLICAS, accumulation)
    assert str(error.value) == said


def test_an_evaluation_alone_has_rows_of_its_own():
    experiment(batch_size=7, evaluation_batch_size=6).check_shared(TWO_REPLICAS)
