"""Messages are given in full: they are what a user has to go on."""

import subprocess
import sys
import textwrap

import pytest

from trainers import config, settings
from trainers.errors import UserError

RECIPE = """
STEPS = %gin.REQUIRED
BATCH_SIZE = 8
STRATEGY = "one_device"
train.steps = %STEPS
train.optimizer = @Adam
Experiment.model = @DecoderLM
Experiment.batch_size = %BATCH_SIZE
Experiment.strategy = %STRATEGY
"""


def test_a_right_recipe_passes(check):
    checked = check(RECIPE, "STEPS = 10", "train.exclude = ('bias', 'norm')")
    assert checked.flat() == {
        "train.steps": 10,
        "train.optimizer": settings.Reference("Adam"),
        "Experiment.model": settings.Reference("DecoderLM"),
        "Experiment.batch_size": 8,
        "Experiment.strategy": "one_device",
        "train.exclude": ("bias", "norm"),
    }


@pytest.mark.parametrize(
    "line, message",
    [
        (
            "Experiment.model = @DecoderLN",
            "x.gin:1: DecoderLN is nothing that can be configured; did you mean DecoderLM?",
        ),
        (
            "DecodrLM.width = 3",
            "x.gin:1: DecodrLM is nothing that can be configured; did you mean DecoderLM?",
        ),
        (
            "train.optimizer = @adamw",
            "x.gin:1: adamw is nothing that can be configured; did you mean AdamW?",
        ),
        ("DecoderLM.num_head = 4", "x.gin:1: DecoderLM has no num_head; did you mean num_heads?"),
        ("Adam.beta1 = 0.8", "x.gin:1: Adam has no beta1; did you mean beta_1?"),
        (
            "EarlyStopping.patients = 3",
            "x.gin:1: EarlyStopping has no patients; did you mean patience?",
        ),
        ("files.modus = 'line'", "x.gin:1: files has no modus; did you mean mode?"),
        ("Report.ever = 3", "x.gin:1: Report has no ever; did you mean every?"),
        ("LanguageModel.x = 1", "x.gin:1: LanguageModel is nothing that can be configured"),
        ("wide/DecoderLM.widht = 3", "x.gin:1: DecoderLM has no widht; did you mean width?"),
        ("DecoderLM:\n  width = 3\n  depth = 4", "x.gin:3: DecoderLM has no depth"),
    ],
)
def test_a_name_that_does_not_exist_is_named_with_the_nearest(complaint, line, message):
    assert complaint(line) == message


@pytest.mark.parametrize(
    "line", ["Report.every = 3", "anything.at_all = 3", "keras.optimizers.Adam.beta_1 = 0.9"]
)
def test_a_name_that_exists_elsewhere_passes(check, line):
    check(line)


def test_a_misspelt_macro_is_named_with_the_nearest(complaint):
    assert complaint(RECIPE, "STEP = 3") == (
        "--gin_param: STEP is no macro of this recipe; did you mean STEPS?"
    )
    assert complaint(RECIPE + "STEP = 3") == (
        "x.gin:10: STEP is no macro of this recipe; did you mean STEPS?"
    )
    assert complaint(RECIPE, "WORDS = 3") == (
        "--gin_param: WORDS is no macro of this recipe; it has BATCH_SIZE, STEPS, STRATEGY"
    )
    assert complaint("STEPS = 1\ntrain.steps = %STEP\ntrain.clip_norm = %STEPS") == (
        "x.gin:2: STEP is set nowhere; did you mean STEPS?"
    )


def test_a_macro_whose_use_is_overridden_is_neither_required_nor_settable(check, complaint):
    overridden = RECIPE + "train.steps = 7"
    assert check(overridden).flat()["train.steps"] == 7
    assert complaint(overridden, "STEPS = 3") == (
        "--gin_param: STEPS is no macro of this recipe; it has BATCH_SIZE, STRATEGY"
    )


def test_all_that_must_be_set_is_named_at_once(complaint):
    text = "files.train = %TRAIN_FILES\nfiles.mode = %gin.REQUIRED" + RECIPE
    assert complaint(text) == (
        "x.gin: TRAIN_FILES, STEPS, files.mode must be set: --gin_param='TRAIN_FILES = ...' "
        "--gin_param='STEPS = ...' --gin_param='files.mode = ...'"
    )


@pytest.mark.parametrize(
    "param, message",
    [
        (
            'BATCH_SIZE = "12"',
            (
                'BATCH_SIZE = "12": an int is needed (Experiment.batch_size), not a str; '
                "write BATCH_SIZE = 12"
            ),
        ),
        (
            "STEPS = 1e3",
            "STEPS = 1000.0: an int is needed (train.steps), not a float; write STEPS = 1000",
        ),
        ("STEPS = True", "STEPS = True: an int is needed (train.steps), not a bool"),
        ("STEPS = None", "STEPS = None: an int is needed (train.steps), not None"),
        (
            'STRATEGY = "miror"',
            (
                'STRATEGY = "miror": one of "one_device", "mirrored" is needed '
                '(Experiment.strategy); write STRATEGY = "mirrored"'
            ),
        ),
        (
            'train.clip_norm = "1.5"',
            'train.clip_norm = "1.5": a float is needed, not a str; write train.clip_norm = 1.5',
        ),
        ("train.jit = 1", "train.jit = 1: a bool is needed, not an int; write train.jit = True"),
        (
            "DecoderLM.window = 2.5",
            "DecoderLM.window = 2.5: an int or None is needed, not a float",
        ),
        (
            "DecoderLM.positions = @DecoderLM",
            "DecoderLM.positions = @DecoderLM: a str is needed, not a reference",
        ),
        (
            "Experiment.tokenizer = 7",
            (
                "Experiment.tokenizer = 7: a str is needed, not an int; "
                'write Experiment.tokenizer = "7"'
            ),
        ),
        (
            'train.exclude = "bias"',
            (
                'train.exclude = "bias": a list of str is needed, not a str; '
                'write train.exclude = ["bias"]'
            ),
        ),
        ("files.train = [1, 2]", "files.train = [1, 2]: a list of str or a str is needed"),
    ],
)
def test_a_value_of_another_type_is_shown_with_what_is_needed(complaint, param, message):
    assert complaint(RECIPE, "STEPS = 1", param) == f"--gin_param: {message}"


@pytest.mark.parametrize(
    "line",
    [
        "train.clip_norm = 1",
        "DecoderLM.window = None",
        "DecoderLM.width = @anything()",
        "train.callbacks = [@Report, @EarlyStopping()]",
        "train.callbacks = ()",
        'files.train = "a.txt"',
        'files.train = ("a.txt", "b.txt")',
        "train.optimizer = 'whatever'",
    ],
)
def test_a_value_that_fits_passes(check, line):
    check(line)


def test_a_type_error_names_the_line_of_the_file_that_set_the_value(complaint):
    assert complaint(RECIPE.replace("8", '"eight"'), "STEPS = 1") == (
        'x.gin:3: BATCH_SIZE = "eight": an int is needed (Experiment.batch_size), not a str'
    )


@pytest.mark.parametrize(
    "param, message",
    [
        (
            "STRATEGY = mirrored",
            'STRATEGY = mirrored: a text needs quotes: STRATEGY = "mirrored"',
        ),
        (
            "STRATEGY=data/a.txt",
            'STRATEGY=data/a.txt: a text needs quotes: STRATEGY = "data/a.txt"',
        ),
        ("STRATEGY = [a, 'b']", "STRATEGY = [a, 'b']: a text needs quotes: \"a\""),
        ("train.jit = true", "train.jit = true: write True"),
        ("STEPS 3", "STEPS 3: Couldn't parse statement, expected ':' or '='."),
        ("STEPS = ", "STEPS =: Unable to parse value."),
        ("STEPS = [1,", "STEPS = [1,: EOF in multi-line statement"),
    ],
)
def test_what_gin_cannot_parse_is_shown(complaint, param, message):
    assert complaint(RECIPE, param) == f"--gin_param: {message}"
    assert complaint(RECIPE + param) == f"x.gin:{RECIPE.count(chr(10)) + 1}: {message}"


def test_a_macro_that_is_its_own_value_is_refused(complaint):
    assert complaint("A = %B\nB = [%A]\ntrain.steps = %A") == "x.gin:1: A is set to itself"


def test_a_file_that_does_not_exist_is_named_with_the_nearest(tmp_path, monkeypatch, complaint):
    recipes = tmp_path / "configs" / "recipes"
    recipes.mkdir(parents=True)
    (recipes / "quickstart.gin").write_text("")
    monkeypatch.setattr(settings, "ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    hint = "did you mean configs/recipes/quickstart.gin?"
    for name in ("configs/recipes/quikstart.gin", "quickstart"):
        with pytest.raises(UserError) as error:
            config.check([name], [])
        assert str(error.value) == f"{name}: no such file; {hint}"
    assert complaint("include 'configs/recipes/quick.gin'") == (
        f"x.gin:1: there is no file configs/recipes/quick.gin; {hint}"
    )


def test_includes_are_found_beside_the_file_and_in_the_repository(tmp_path, monkeypatch, catalogue):
    repository, elsewhere = tmp_path / "repository", tmp_path / "elsewhere"
    for name, text in {
        repository / "configs/base.gin": "train.steps = %STEPS\nSTEPS = 1",
        elsewhere / "mine/x.gin": "include 'configs/base.gin'\ninclude 'more.gin'",
        elsewhere / "mine/more.gin": "STEPS = 2",
    }.items():
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_text(text)
    monkeypatch.setattr(settings, "ROOT", str(repository))
    monkeypatch.chdir(elsewhere)
    assert config.check(["mine/x.gin"], [], catalogue=catalogue).flat() == {"train.steps": 2}


def test_a_file_that_includes_itself_is_refused(complaint):
    assert complaint("include 'x.gin'") == "x.gin: includes x.gin, which includes it"


def test_a_recipe_may_import_a_module_of_the_users(tmp_path, monkeypatch, check, complaint):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_model.py").write_text("@gin.configurable\nclass Mine:\n  x: int = 1\n")
    assert complaint("import own_model\nMine.y = 2") == "x.gin:2: Mine has no y"
    assert complaint("import own_modle") == "x.gin:1: there is no module own_modle"


def test_without_a_recipe_the_model_dir_must_have_a_config(tmp_path, catalogue):
    needed = "--gin_file must be set: a recipe, as --gin_file=configs/recipes/quickstart.gin"
    with pytest.raises(UserError) as error:
        config.check([], [])
    assert str(error.value) == needed
    with pytest.raises(UserError) as error:
        config.check([], [], "runs/x")
    assert str(error.value) == f"{needed} (runs/x has no config.gin to go on from)"
    (tmp_path / "config.gin").write_text("DecoderLM.width = 3")
    checked = config.check([], [], str(tmp_path), catalogue)
    assert checked.flat() == {"DecoderLM.width": 3}


def test_checking_takes_under_a_second_and_neither_tensorflow_nor_keras(tmp_path):
    (tmp_path / "x.gin").write_text("Adam.beta_1 = 0.8\nDecoderLM.width = 16\nX = @Nothing")
    script = """
        import sys, time
        from trainers import config
        from trainers.errors import UserError
        try:
            config.check([sys.argv[1]], [])
        except UserError as error:
            print(error)
        assert not {"tensorflow", "keras"} & set(sys.modules)
        assert time.process_time() < 1, time.process_time()
    """
    output = subprocess.check_output(
        [sys.executable, "-c", textwrap.dedent(script), tmp_path / "x.gin"], text=True
    )
    assert "X is no macro of this recipe" in output


@pytest.fixture
def run_dir(tmp_path, monkeypatch, check):
    """A run with a checkpoint."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "checkpoints" / "step_10").mkdir(parents=True)
    (tmp_path / "run" / "config.gin").write_text(RECIPE.replace("%gin.REQUIRED", "10"))
    return "run"


@pytest.mark.parametrize(
    "params",
    [
        ["STEPS = 20", "BATCH_SIZE = 4", 'STRATEGY = "mirrored"', "Adam.beta_1 = 0.8"],
        ["STEPS = 20", "DecoderLM.width = 128", "Experiment.tokenizer = 'bytes'"],  # defaults
        ["STEPS = 20", "LSTMLM.width = 3"],
    ],
)
def test_a_run_goes_on_with_other_steps_rates_and_strategy(run_dir, check, catalogue, params):
    config.check_fits(run_dir, check(RECIPE, *params), catalogue)


@pytest.mark.parametrize(
    "params, message",
    [
        (
            ["DecoderLM.width = 256"],
            "DecoderLM.width = 128; this config says 256; use another --model_dir or the old value",
        ),
        (
            ["DecoderLM.num_heads = 8", 'Experiment.tokenizer = "words"'],
            (
                'DecoderLM.num_heads = 4, Experiment.tokenizer = "bytes"; '
                'this config says 8, "words"; use another --model_dir or the old values'
            ),
        ),
        (
            ["Experiment.model = @LSTMLM", "LSTMLM.width = 3"],
            (
                "Experiment.model = @DecoderLM; this config says @LSTMLM; "
                "use another --model_dir or the old value"
            ),
        ),
    ],
)
def test_a_run_does_not_go_on_with_another_model(run_dir, check, catalogue, params, message):
    other = check(RECIPE, "STEPS = 20", *params)
    with pytest.raises(UserError) as error:
        config.check_fits(run_dir, other, catalogue)
    assert str(error.value) == f"run holds a model with {message}"


def test_a_run_without_a_checkpoint_may_become_another(tmp_path, run_dir, check, catalogue):
    (tmp_path / "run" / "checkpoints" / "step_10").rmdir()
    config.check_fits(run_dir, check(RECIPE, "STEPS = 1", "DecoderLM.width = 256"), catalogue)
