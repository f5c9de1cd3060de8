"""What watches a run: Keras callbacks, so that any other Keras callback can stand beside them.

A batch end is a report, its `batch` the optimizer's step; an epoch end is an evaluation, whose
logs hold `val_loss` and the rest.
"""
