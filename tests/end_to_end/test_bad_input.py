"""What is wrong with a user's files or settings is one line that names it, and harms nothing."""

import os

import pytest

from tests.end_to_end.recipes import arguments, command


@pytest.fixture
def complaint(tmp_path):
    """The one line that a recipe with some settings changed ends in."""

    def complaint(family="decoder_lm", *flags, **settings):
        model_dir = tmp_path / "run"
        model_dir.mkdir(exist_ok=True)
        (model_dir / "metrics.jsonl").write_text('{"step": 0, "split": "train"}\n')
        flags = [*arguments(str(tmp_path), family, **settings), *flags]
        status, _, err = command(*flags, f"--model_dir={model_dir}")
        assert status == 1
        assert err.startswith("error: ") and err.count("\n") == 1, err
        assert (model_dir / "metrics.jsonl").read_text() == '{"step": 0, "split": "train"}\n'
        assert not (model_dir / "checkpoints").exists()
        return err.removeprefix("error: ").strip()

    return complaint


def written(path, content):
    path.write_bytes(content)
    return str(path)


def test_a_missing_file_is_named(complaint, tmp_path):
    path = f"{tmp_path}/nothing.txt"
    assert complaint(TRAIN_FILES=path) == (
        f"{path}: no such file; give a path or a glob that matches one"
    )


def test_what_clearly_does_not_fit_into_memory_is_refused_with_what_would_help(complaint):
    message = complaint(BATCH_SIZE=40_000_000)
    assert message.startswith("training needs about ") and "activations" in message
    assert "; ACCUMULATION = " in message
    assert message.endswith("train.check_memory = False tries nevertheless")


def test_an_empty_file_is_named(complaint, tmp_path):
    path = written(tmp_path / "empty.txt", b"")
    assert complaint(TRAIN_FILES=path) == f"{path}: no text in it, for the train split"


def test_a_file_without_a_token_is_named(complaint, tmp_path):
    path = written(tmp_path / "blank.txt", b" \n\n")
    message = complaint("encoder_decoder", TRAIN_FILES=[path, path])
    assert message == f"{path}, {path}: no record in it, for the train split"


def test_bytes_that_are_not_utf8_are_named_by_line_and_may_be_replaced(complaint, tmp_path):
    path = written(tmp_path / "latin.txt", b"fine\nfin\xe9\n" + 100 * b"more text\n")
    message = complaint(TRAIN_FILES=path)
    assert message.startswith(f"{path}:2: byte 0xe9 is not UTF-8")
    assert "text_files.encoding_errors = 'replace'" in message
    flags = arguments(str(tmp_path), "decoder_lm", TRAIN_FILES=path, STEPS=1)
    replace = "--gin_param=text_files.encoding_errors = 'replace'"
    assert command(*flags, replace, f"--model_dir={tmp_path}/replaced")[0] == 0


def test_parallel_files_of_unequal_length_are_named(complaint, tmp_path):
    paths = [written(tmp_path / "a", b"one\ntwo\n"), written(tmp_path / "b", b"eins\n")]
    assert complaint("encoder_decoder", TRAIN_FILES=paths) == (
        f"{paths[1]}: ends at line 1 but {paths[0]} goes on; "
        "parallel files need the same number of lines"
    )


def test_a_field_that_a_line_lacks_is_named(complaint, tmp_path):
    path = written(
        tmp_path / "a.jsonl", b'{"question": "why?", "answer": "so"}\n{"question": "x"}\n'
    )
    params = [
        "parallel_files/text_to_text.source = @jsonl_files()",
        f"jsonl_files.train = '{path}'",
        f"jsonl_files.validation = '{path}'",
        "parallel_files/text_to_text.inputs = '{question}'",
        "parallel_files/text_to_text.targets = '{answer}'",
    ]
    message = complaint("encoder_decoder", *(f"--gin_param={param}" for param in params))
    assert message == f"{path}:2: no field 'answer'; the fields are: question"


def test_a_row_longer_than_the_data_is_refused(complaint):
    message = complaint(SEQUENCE_LENGTH=5000, BATCH_SIZE=1)
    assert message.startswith("SEQUENCE_LENGTH = 5000: the train split has only ")


def test_a_vocabulary_too_large_for_the_data_is_refused(complaint):
    message = complaint(TOKENIZER="bpe", VOCABULARY_SIZE=50_000)
    assert message.startswith("VOCABULARY_SIZE = 50000: ") and "the largest that works" in message


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"STEP": 3}, "--gin_param: STEP is no macro of this recipe; did you mean STEPS?"),
        ({"BATCH_SIZE": 0}, "BATCH_SIZE = 0: must be at least 1"),
        (
            {"DecoderLM.width": 130},
            "DecoderLM: width 130 is not divisible by 4 heads",
        ),
        ({"TOKENIZER": "letters"}, "TOKENIZER = 'letters': neither a folder with a tokenizer.json"),
        ({"ACCUMULATION": 3}, "BATCH_SIZE = 4: must be a multiple of replicas times ACCUMULATION"),
        (
            {"Experiment.batches": "windows"},
            '--gin_param: Experiment.batches = "windows": a reference, @name, is needed, not a str',
        ),
        ({"LEARNING_RATE": "fast"}, '--gin_param: LEARNING_RATE = "fast": a float is needed'),
    ],
)
def test_a_setting_that_cannot_be_is_named(complaint, settings, message):
    assert complaint(**settings).startswith(message)


def test_a_model_dir_of_another_model_says_which_values_differ(tmp_path):
    flags = [*arguments(str(tmp_path), "decoder_lm", STEPS=1), f"--model_dir={tmp_path}/run"]
    assert command(*flags)[0] == 0
    before = (tmp_path / "run" / "config.gin").read_text()
    status, _, err = command(*flags, "--gin_param=DecoderLM.width = 64")
    assert status == 1
    assert err == (
        f"error: {tmp_path}/run holds a model with DecoderLM.width = 32; this config says 64; "
        "use another --model_dir or the old value\n"
    )
    status, _, err = command(*flags, "--gin_param=train.optimizer = @Adagrad")
    assert status == 1 and "step_1: was made by another model or optimizer" in err
    assert (tmp_path / "run" / "config.gin").read_text() == before


def test_what_has_not_been_trained_cannot_be_evaluated_or_exported(tmp_path):
    for mode in ("evaluate", "export"):
        flags = arguments(str(tmp_path), "decoder_lm")
        status, _, err = command(*flags, f"--model_dir={tmp_path}/none", f"--mode={mode}")
        assert status == 1 and "there is no checkpoint; train first" in err
        assert not os.path.exists(tmp_path / "none")


def test_a_split_that_the_data_lacks_is_named_with_those_it_has(tmp_path):
    flags = arguments(str(tmp_path), "decoder_lm", STEPS=1, TEST_FILES=None)
    flags.append(f"--model_dir={tmp_path}/run")
    assert command(*flags)[0] == 0
    status, _, err = command(*flags, "--mode=evaluate", "--split=test")
    assert status == 1
    assert err == (
        "error: the data has no test split; choose one of train, validation, or set TEST_FILES\n"
    )
