"""Decoding: the loop over `LanguageModel.start` and `extend`, and how a token is drawn."""
