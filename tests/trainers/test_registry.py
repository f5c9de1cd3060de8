"""What gin gets, once the real models and trainers are registered."""

import gin
import pytest

from trainers import config
from trainers.errors import UserError


@pytest.fixture
def registered():
    from trainers import registry

    registry.register()
    yield
    gin.clear_config()


REAL_RECIPE = """
FILES = ["a file.txt", "b.txt"]
WIDTH = 16
STEPS = 10
text_files.train = %FILES
language_modelling.source = @text_files()
LSTMLM.width = %WIDTH
deep/LSTMLM.num_layers = 3
warmup_cosine.steps = %STEPS
warmup_cosine.peak = 0.1
Adam.learning_rate = 0.5
"""


def test_what_gin_gets_is_what_was_checked(tmp_path, registered):
    (tmp_path / "x.gin").write_text(REAL_RECIPE)
    config.load(config.check([str(tmp_path / "x.gin")], ["STEPS = 20", "Adam.beta_1 = 0.8"]))
    for name, layers in {"LSTMLM": 2, "deep/LSTMLM": 3}.items():
        model = gin.get_configurable(name)(vocabulary_size=11)
        assert (model.width, len(model.cells)) == (16, layers)
    optimizer = gin.get_configurable("Adam")()
    assert (optimizer.beta_1, optimizer.learning_rate) == (0.8, 0.5)


def test_a_saved_config_alone_starts_the_run_again(tmp_path, registered):
    (tmp_path / "x.gin").write_text(REAL_RECIPE)
    first = config.check([str(tmp_path / "x.gin")], [])
    config.load(first)
    gin.get_configurable("LSTMLM")(vocabulary_size=11)  # one is used, others are not
    config.save(tmp_path / "run")

    again = config.check([], ["STEPS = 200"], str(tmp_path / "run"))
    changed = config.differences(first, again)
    assert changed == {"warmup_cosine.steps": (10, 200)}
    assert again.flat()["LSTMLM.tie_embeddings"] is False  # a default in use
    assert "Adam.beta_1" not in again.flat()  # of what was not used, only what was set

    config.load(again)
    config.save(tmp_path / "run")
    third = config.check([], [], str(tmp_path / "run"))
    assert third.flat() == again.flat()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.gin"]


def test_a_constructor_that_refuses_its_settings_is_a_user_error(registered):
    gin.parse_config("DecoderLM.width = 16\nDecoderLM.num_heads = 3")
    with pytest.raises(UserError, match="DecoderLM: width 16 is not divisible by 3 heads"):
        gin.get_configurable("DecoderLM")(vocabulary_size=11)


def test_our_optimizer_wins_over_that_of_keras(registered):
    gin.parse_config("Muon.newton_schulz_steps = 3")
    assert gin.get_configurable("Muon")().newton_schulz_steps == 3


def test_models_and_optimizers_made_through_gin_are_the_plain_classes(registered):
    import keras

    import zoo

    assert type(gin.get_configurable("LSTMLM")(vocabulary_size=11)) is zoo.LSTMLM
    optimizer = gin.get_configurable("Adam")(beta_1=0.8)
    assert keras.optimizers.deserialize(keras.optimizers.serialize(optimizer)).beta_1 == 0.8
