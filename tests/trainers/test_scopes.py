import pytest

from trainers import config
from trainers.errors import UserError

OF_TASK = """
Experiment.task = %TASKS
TASKS = {"dates": @dates/text_to_text()}
dates/text_to_text.source = @files()
dates/text_to_text.metrics = ["bleu"]
dates/files.mode = "line"
"""


def test_what_is_set_of_a_task_outside_of_its_scope_without_effect_is_refused(check, complaint):
    problem = "text_to_text.metrics has no effect here; write dates/text_to_text.metrics"
    assert complaint(OF_TASK, "text_to_text.metrics = ['ter']") == f"--gin_param: {problem}"
    assert complaint(OF_TASK + "text_to_text.metrics = ['ter']") == f"x.gin:7: {problem}"
    problem = "files.mode has no effect here; write dates/files.mode"  # asked for within the task
    assert complaint(OF_TASK, "files.mode = 'document'") == f"--gin_param: {problem}"
    problem = "sst2/text_to_text.labels has no effect here; write dates/text_to_text.labels"
    assert complaint(OF_TASK, "sst2/text_to_text.labels = ['a']") == f"--gin_param: {problem}"
    for line in (
        "text_to_text.metrics = ['bleu']",
        "text_to_text.labels = ['a']",
        "files.train = 'x'",
    ):
        check(OF_TASK, line)
    check(OF_TASK, "Experiment.task = @text_to_text()", "text_to_text.metrics = ['ter']")


def test_what_others_than_tasks_ask_for_may_have_scopes_of_its_own(check):
    check(OF_TASK + "train.callbacks = [@quick/Report]\nquick/Report.every = 2", "Report.every = 3")


def test_a_scope_that_nothing_stands_in_is_refused(check, complaint):
    recipe = OF_TASK + "train.callbacks = [@often/quick/Report]\nReport.every = 2"
    for scope in ("dates", "often", "often/quick"):
        check(recipe, f"{scope}/Report.every = 3")
    said = "--gin_param: date/Report.every has no effect here, where nothing is in the scope date; did "
    assert complaint(recipe, "date/Report.every = 3") == said + "you mean dates?"
    check(recipe + "\nother/Report.every = 3")  # a file may have scopes of more than it is run with


def test_every_file_that_is_given_is_the_users(tmp_path, monkeypatch, catalogue):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more.gin").write_text("text_to_text.metrics = ['ter']")
    (tmp_path / "x.gin").write_text(OF_TASK)
    with pytest.raises(UserError, match="^more.gin:1: text_to_text.metrics has no effect here"):
        config.check(["x.gin", "more.gin"], [], catalogue=catalogue)


def test_a_file_may_set_what_another_has_otherwise_in_its_scope(tmp_path, check, catalogue):
    text = OF_TASK + "text_to_text.metrics = ['ter']"
    (tmp_path / "part.gin").write_text(text)
    check(f"include '{tmp_path}/part.gin'")
    (tmp_path / "config.gin").write_text(text)
    config.check([], [], str(tmp_path), catalogue)
