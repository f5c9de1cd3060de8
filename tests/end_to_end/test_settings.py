"""What settings of a run do, by the command line: how far, what is kept, what stops it."""

import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.end_to_end.recipes import (
    arguments,
    assert_same,
    command,
    metrics_of,
    tensors,
)
from trainers import trainer


@pytest.fixture
def decoder(tmp_path):
    """Runs the decoder's recipe in tmp_path/run: (status, output, errors)."""

    def decoder(*more, **settings):
        flags = arguments(str(tmp_path), "decoder_lm", **settings)
        return command(*flags, f"--model_dir={tmp_path}/run", *more)

    return decoder


def test_a_higher_step_count_goes_on(decoder, tmp_path):
    assert decoder(STEPS=10)[0] == 0
    status, out, _ = decoder(STEPS=15)
    assert status == 0 and "goes on from" in out
    assert [line["step"] for line in metrics_of(tmp_path / "run", "validation")] == [10, 15]
    # Of the step that was the last: the schedule falls to 0 at the one after.
    assert metrics_of(tmp_path / "run", "train")[-1]["learning_rate"] > 0


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_is_passed_over(decoder, tmp_path):
    decoder()
    newest = tmp_path / "run" / "checkpoints" / "step_20" / "state.index"
    expected = tensors(tmp_path / "run")
    os.truncate(newest, 10)
    status, out, _ = decoder()
    assert status == 0
    assert "step_20: state.index is damaged; going back to step 10" in out
    assert (tmp_path / "run" / "checkpoints" / "step_20.damaged").exists()
    assert_same(tensors(tmp_path / "run"), expected)


def test_epochs_take_the_place_of_steps(decoder, tmp_path):
    status, _, err = decoder(STEPS=None, train__epochs=0.5, EVAL_EVERY=None)
    assert status == 0, err
    assert len(metrics_of(tmp_path / "run", "validation")) == 1


@pytest.mark.slow
def test_evaluation_and_export_take_the_average_of_the_weights(decoder, tmp_path):
    status, _, err = decoder(train__ema_decay=0.9, train__export_at_end=True)
    assert status == 0, err
    held = tensors(tmp_path / "run")
    averages = [name for name in held if name.startswith("averages/")]
    assert averages
    command(f"--model_dir={tmp_path}/run", "--mode=evaluate")
    lines = metrics_of(tmp_path / "run", "validation")
    exported = tf.train.load_checkpoint(f"{tmp_path}/run/export/variables/variables")
    values = [exported.get_tensor(n) for n in exported.get_variable_to_shape_map()]
    for name in averages:
        assert any(np.array_equal(held[name], value) for value in values), name
    os.remove(tmp_path / "run" / "metrics.jsonl")
    command(f"--model_dir={tmp_path}/run", "--mode=evaluate")
    (again,) = metrics_of(tmp_path / "run")
    assert again["loss"] == pytest.approx(lines[-1]["loss"], rel=1e-6)


@pytest.mark.slow
def test_evaluation_and_export_take_the_mean_of_checkpoints(decoder, tmp_path):
    status, _, err = decoder(
        EVAL_EVERY=5,
        train__keep_checkpoints=3,
        train__export_at_end=True,
        Experiment__checkpoint="average_of_newest",
        Experiment__averaged_checkpoints=3,
    )
    assert status == 0, err
    readers = [
        tf.train.load_checkpoint(f"{tmp_path}/run/checkpoints/step_{step}/state")
        for step in (10, 15, 20)
    ]
    exported = tf.train.load_checkpoint(f"{tmp_path}/run/export/variables/variables")
    values = [exported.get_tensor(n) for n in exported.get_variable_to_shape_map()]
    names = [n for n in readers[0].get_variable_to_shape_map() if n.startswith("model/")]
    assert len(names) == 11
    for name in names:
        mean = np.mean([np.float64(reader.get_tensor(name)) for reader in readers], axis=0)
        assert any(np.array_equal(mean.astype("float32"), value) for value in values), name
    status, out, err = command(f"--model_dir={tmp_path}/run", "--mode=evaluate")
    assert status == 0, err
    assert out.startswith("validation, the mean of steps 10, 15 and 20: loss ")
    command(f"--model_dir={tmp_path}/run", "--mode=evaluate")  # is written once
    *alone, averaged = metrics_of(tmp_path / "run", "validation")
    assert [line["step"] for line in alone] == [5, 10, 15, 20]
    assert averaged["step"] == 20 and averaged["averaged_steps"] == [10, 15, 20]
    assert averaged["loss"] != alone[-1]["loss"]
    assert command(f"--model_dir={tmp_path}/run", "--mode=export")[0] == 0
    card = (tmp_path / "run" / "export" / "model_card.md").read_text()
    assert "the mean of steps 10, 15 and 20 of its training" in card
    assert f"loss {averaged['loss']:,.5g}," in card
    stride = "--gin_param=windows.evaluation_stride = 8"
    assert command(f"--model_dir={tmp_path}/run", "--mode=evaluate", stride)[0] == 0
    *_, with_stride = metrics_of(tmp_path / "run", "validation")
    assert with_stride["evaluation_stride"] == 8
    assert with_stride["tokens"] == averaged["tokens"]
    assert with_stride["loss"] != averaged["loss"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"train__keep_checkpoints": 4}, "leaves only 4 to choose from"),
        ({"train__keep_checkpoints": 5, "train__export_at_end": True}, "leaves only 2 to choose"),
        ({"Experiment__averaged_checkpoints": 0}, "averaged_checkpoints = 0: must be at least 1"),
    ],
)
def test_too_few_checkpoints_to_average_are_refused_before_training(decoder, settings, message):
    status, out, err = decoder(Experiment__checkpoint="average_of_newest", **settings)
    assert status == 1 and message in err and "step" not in out


@pytest.mark.slow
def test_an_export_of_fewer_bytes_says_what_it_costs_and_has_a_card(decoder, tmp_path):
    assert decoder()[0] == 0
    options = ("weights = 'int8'", "licence = 'CC0-1.0'", "chat_template = '{{ messages }}'")
    flags = [f"--gin_param=export.{option}" for option in options]
    status, out, err = command(f"--model_dir={tmp_path}/run", "--mode=export", *flags)
    assert status == 0, err
    found, exact = re.search(r"perplexity ([\d.]+) .* ([\d.]+) in float32", out).groups()
    assert found != exact and float(found) == pytest.approx(float(exact), rel=0.02)
    (last,) = metrics_of(tmp_path / "run", "validation")[-1:]
    assert float(exact) == pytest.approx(last["perplexity"], rel=1e-3)
    card = (tmp_path / "run" / "export" / "model_card.md").read_text()
    for expected in (
        "# run\n",
        "step 20 ",
        "weights as int8",
        "| CC0-1.0 |",
        "| draft, for speed | none |",
        "| validation | 20 |",
    ):
        assert expected in card
    described = tf.saved_model.load(f"{tmp_path}/run/export").describe()
    assert described["chat_template"] == "{{ messages }}" and described["name"] == "run"

    calibrated = [f"--model_dir={tmp_path}/run", "--gin_param=export.calibration_batches = 2"]
    four_bits = "--gin_param=export.weights = 'int4'"
    status, out, err = command(*calibrated, four_bits, "--mode=export")
    assert status == 0 and "weights are int4: perplexity " in out, err
    assert "only weights of 'int4' are rounded" in command(*calibrated, "--mode=export")[2]


def test_a_new_run_may_begin_with_the_weights_of_another(decoder, tmp_path):
    decoder()
    flags = arguments(str(tmp_path), "decoder_lm", STEPS=5, train__learning_rate=1e-9)
    first = f"train.initial_checkpoint = '{tmp_path}/run'"
    status, out, err = command(*flags, f"--gin_param={first}", f"--model_dir={tmp_path}/new")
    assert status == 0, err
    assert f"begins at step 0 with the weights of {tmp_path}/run/checkpoints/step_20" in out
    losses = [metrics_of(tmp_path / d, "validation")[-1]["loss"] for d in ("run", "new")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_any_keras_callback_can_stand_beside_ours(decoder, tmp_path):
    status, _, err = decoder(
        "--gin_param=train.callbacks = [@EarlyStopping, @CSVLogger, @Samples]",
        "--gin_param=EarlyStopping.min_delta = 100.0",
        "--gin_param=EarlyStopping.monitor = 'val_loss'",
        f"--gin_param=CSVLogger.filename = '{tmp_path}/log.csv'",
        EVAL_EVERY=5,
        STEPS=1000,
    )
    assert status == 0, err
    assert (tmp_path / "log.csv").read_text().count("\n") == 3
    assert [line["step"] for line in metrics_of(tmp_path / "run", "validation")] == [5, 10]
    assert os.path.exists(tmp_path / "run" / "checkpoints" / "step_10")


def test_a_run_that_early_stopping_ended_stays_ended_until_its_settings_change(decoder, tmp_path):
    def run(patience):
        status, out, err = decoder(
            "--gin_param=train.callbacks = [@EarlyStopping]",
            "--gin_param=EarlyStopping.min_delta = 100.0",
            f"--gin_param=EarlyStopping.patience = {patience}",
            EVAL_EVERY=2,
            STEPS=1000,
        )
        assert status == 0, err
        return out, [line["step"] for line in metrics_of(tmp_path / "run", "validation")]

    assert run(2)[1] == [2, 4, 6]
    out, steps = run(2)
    assert "a callback ended training at step 6; with other callbacks it goes on" in out
    assert steps == [2, 4, 6]
    assert run(4)[1] == [2, 4, 6, 8, 10]  # patience is counted from the best, as in one run


def test_early_stopping_is_told_who_keeps_the_best_weights(decoder):
    status, _, err = decoder(
        "--gin_param=train.callbacks = [@EarlyStopping]",
        "--gin_param=EarlyStopping.restore_best_weights = True",
    )
    assert status == 1 and 'Experiment.checkpoint = "best"' in err


def test_a_budget_of_tokens_takes_the_place_of_rows(decoder, tmp_path):
    status, _, err = decoder("--gin_param=Experiment.batches = @auto", BATCH_TOKENS=300, STEPS=5)
    assert status == 0, err
    (report,) = metrics_of(tmp_path / "run", "train")
    assert report["tokens"] == 5 * 8 * 32  # nine rows of 32 would fit; eight can be divided
    status, _, err = decoder(BATCH_TOKENS=31)
    assert status == 1 and "BATCH_TOKENS = 31: a row alone has 32" in err


def test_training_on_sampled_subwords_ends_the_same_from_stores_made_anew(tmp_path):
    sampling = ["Experiment.subword_sampling = @BpeDropout()", "BpeDropout.copies = 2"]
    flags = arguments(str(tmp_path), "decoder_lm", TOKENIZER="bpe", VOCABULARY_SIZE=270, STEPS=40)
    flags += [f"--gin_param={each}" for each in sampling]
    assert command(*flags, f"--model_dir={tmp_path}/run")[0] == 0
    expected = tensors(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step_40")
    shutil.rmtree(tmp_path / "run" / "data")
    status, out, err = command(*flags, f"--model_dir={tmp_path}/run")
    assert status == 0 and "step_30" in out, err
    assert_same(tensors(tmp_path / "run"), expected)
    stores = [name for name in os.listdir(tmp_path / "run" / "data") if "lock" not in name]
    assert sorted(name.split("-")[0] for name in stores) == ["train", "train", "validation"]


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_what_was_good(decoder, tmp_path):
    status, _, err = decoder(
        "--gin_param=train.optimizer = @SGD",
        STEPS=50,
        LEARNING_RATE=1e38,
        train__clip_norm=0.0,
        train__export_at_end=True,
    )
    assert status == 1
    assert "the loss is nan" in err and err.count("\n") == 1
    assert not os.path.exists(tmp_path / "run" / "export")


def test_where_xla_cannot_compile_training_goes_on_without_and_says_why(decoder, monkeypatch):
    run = trainer.TrainStep.run

    def fail_with_xla(self, iterator, count):
        if self.xla:
            raise tf.errors.InvalidArgumentError(None, None, "no kernel for this\nand more")
        return run(self, iterator, count)

    monkeypatch.setattr(trainer.TrainStep, "run", fail_with_xla)
    status, _, err = decoder(train__xla=True, STEPS=2)
    assert status == 0
    assert err == "XLA cannot compile this step, so it runs without: no kernel for this\n"


@pytest.mark.slow
def test_mixed_precision_and_xla_train_too(decoder, tmp_path):
    status, _, err = decoder(PRECISION="mixed_bfloat16", train__xla=True, STEPS=5)
    assert status == 0, err
    assert metrics_of(tmp_path / "run", "validation")
