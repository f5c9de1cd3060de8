"""Models of KerasHub: its presets, and what it knows of Transformers that `DecoderLM` is not."""
