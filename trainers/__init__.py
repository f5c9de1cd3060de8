"""Everything that turns text and a model into a model_dir, and a model_dir into an export."""

from trainers.pipeline import pipeline

__all__ = ["pipeline"]
