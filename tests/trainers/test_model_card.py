from trainers import model_card
from trainers.callbacks import metrics_file


def test_the_figures_of_a_step_that_stand_on_several_lines_are_one_row(tmp_path):
    path = str(tmp_path / "metrics.jsonl")
    for step, split, figures in (
        (10, "validation", {"loss": 3.0, "chrf": 1.0}),
        (20, "validation", {"loss": 2.0}),
        (20, "validation", {"bleu": 7.5}),  # decoded later
        (20, "train", {"loss": 1.0}),
        (30, "validation", {"loss": 1.0}),
    ):
        metrics_file.append(path, {"step": step, "split": split, **figures})
    *_, row = model_card.figures(path, [20]).splitlines()
    assert row == "| validation | 20 | loss 2, bleu 7.5 |"
