from trainers.callbacks.progress import Progress


def watch(progress):
    progress.on_train_begin()
    progress.on_train_batch_end(10, {"loss": 2.0, "tokens_per_second": 1234.5})
    progress.on_epoch_end(0, {"loss": 2.0, "val_loss": 1.5, "val_perplexity": 4.4817})
    progress.on_train_batch_end(20, {"loss": 1.0})
    progress.on_train_end()


def test_away_from_a_terminal_evaluations_are_all_that_is_shown(capsys):
    watch(Progress(0, 1000))
    captured = capsys.readouterr()
    assert captured.out == (
        "step 10 of 1,000: loss 2.0000, val_loss 1.5000, val_perplexity 4.482\n"
    )
    assert captured.err == ""


def test_on_a_terminal_a_bar_shows_the_way_to_go(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    watch(Progress(0, 20))
    captured = capsys.readouterr()
    assert "20/20" in captured.err and "loss 1.0000" in captured.err
    assert "val_loss 1.5000" in captured.out


def test_a_gradient_that_is_no_number_is_not_said_to_be_the_loss(capsys):
    progress = Progress(0, 20)
    progress.on_train_begin()
    event = {"step": 5, "loss": 2.0, "gradient_norm": float("inf"), "skipped_batches": [4, 9]}
    progress.on_go_back(3, event)
    said = "step 5: the loss is 2, but its gradient's norm inf; goes back to step 3 and leaves out"
    assert f"{said} batches 4 to 9\n" in capsys.readouterr().err
