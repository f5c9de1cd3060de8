"""By the command line, dividing a batch over replicas and micro-batches changes no figure."""

import subprocess
import sys

import numpy as np
import pytest

from tests.end_to_end.recipes import FAMILIES, arguments, command, metrics_of

pytestmark = pytest.mark.slow

# Dropout is a function of the replica as well.
NO_DROPOUT = {
    "decoder_lm": {"DecoderLM__dropout": 0.0},
    "lstm_lm": {"LSTMLM__layer_dropout": 0.0},
    "encoder_decoder": {"EncoderDecoder__dropout": 0.0},
}
DIVIDED = [
    f"--gin_param={setting}"
    for setting in ('STRATEGY = "mirrored"', "CPU_REPLICAS = 2", "ACCUMULATION = 2")
]


@pytest.mark.parametrize("family", FAMILIES)
def test_two_replicas_with_accumulation_report_the_losses_of_one_device(family, tmp_path):
    # Truth: the same run undivided; the bound is what the project promises.
    settings = {"STEPS": 10, "train__report_every_steps": 1, **NO_DROPOUT[family]}
    flags = arguments(str(tmp_path), family, **settings)
    status, _, err = command(*flags, f"--model_dir={tmp_path}/whole")
    assert status == 0, err
    # TensorFlow divides the CPU only where nothing has touched it before.
    divided = [sys.executable, "-m", "trainers.run", *flags, *DIVIDED]
    subprocess.run([*divided, f"--model_dir={tmp_path}/divided"], check=True)
    for split, count in (("train", 10), ("validation", 1)):
        expected, actual = (
            [line["loss"] for line in metrics_of(tmp_path / name, split)]
            for name in ("whole", "divided")
        )
        assert len(expected) == count
        np.testing.assert_allclose(actual, expected, rtol=1e-6)
