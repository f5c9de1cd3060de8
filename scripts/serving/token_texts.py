"""Single tokens as text."""

import tensorflow as tf

EOS = 0


class TokenTexts:
    """The text that each token adds behind another, each found once.

    A token is read behind a letter: tokenizers of words give the first word of a
    text no space.
    """

    def __init__(self, export):
        self.export = export
        self.known = {EOS: "<eos>"}
        read = export.tokenize(texts=tf.constant(["a"]))
        self.before = [int(token) for token in read["tokens"][0][: int(read["num_tokens"][0])]]
        self.cut = len(self.detokenize([self.before])[0]) if self.before else 0

    def __call__(self, tokens):
        """{token: text}; a token with a part of a character has U+FFFD in its place."""
        unknown = sorted(set(tokens) - self.known.keys())
        if unknown:
            texts = self.detokenize([[*self.before, token] for token in unknown])
            cut = [text[self.cut :] for text in texts]
            self.known.update(zip(unknown, cut, strict=True))
        return self.known

    def detokenize(self, rows):
        texts = self.export.detokenize(tokens=tf.constant(rows, tf.int32))["text"]
        return [text.decode("utf-8", "replace") for text in texts.numpy()]
