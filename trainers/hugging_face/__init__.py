"""Checkpoints in the format of Hugging Face Transformers, and the models of the zoo they become."""
