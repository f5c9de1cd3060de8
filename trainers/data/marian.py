"""Marian's tokenizer: a SentencePiece model of the source language, one of the target's, one list of ids."""

import json

from trainers.data.sentence_piece import SPACE_MARK, EncodedInGraph
from trainers.data.tokenizer_base import ANSWER, PretrainedTokenizer
from trainers.startup import filtered_stderr

SOURCE, TARGET, SETTINGS = "source.spm", "target.spm", "settings.json"
UNKNOWN = "<unk>"
SILENT = (UNKNOWN, "<pad>", "</s>")


class MarianTokenizer(EncodedInGraph, PretrainedTokenizer):
    """Texts by the model of the source, those that begin with `ANSWER` by that of the target.

    A language's code such as ">>de<<" at the beginning of a text is one token.

    Args:
      source, target: the serialized models.
      vocabulary: {piece: the checkpoint's id}.
      eos_id: the checkpoint's id of the token that ends texts.
      vocabulary_size: number of ids, for models with more rows than there are tokens.
    """

    kind = "pretrained_marian"
    begins_texts = False
    reads_answers_apart = True

    def __init__(self, source, target, vocabulary, eos_id, vocabulary_size):
        self.source, self.target, self.vocabulary = source, target, vocabulary
        self.eos_id, self.vocabulary_size = eos_id, vocabulary_size
        self.pieces = [b""] * vocabulary_size
        self.ids = dict(
            zip(vocabulary, self.swapped(list(vocabulary.values())).tolist(), strict=True)
        )
        for text, i in self.ids.items():
            if text not in SILENT and not is_code(text):
                self.pieces[i] = text.replace(SPACE_MARK, " ").encode()

    def decode_tokens(self, ids):
        text = b"".join(self.pieces[i] for i in ids).decode("utf-8", "replace")
        return text.removeprefix(" ")

    def assets(self):
        settings = {
            "vocabulary": self.vocabulary,
            "eos_id": self.eos_id,
            "vocabulary_size": self.vocabulary_size,
        }
        described = json.dumps(settings, ensure_ascii=False).encode()
        return {SOURCE: self.source, TARGET: self.target, SETTINGS: described}

    @classmethod
    def from_assets(cls, assets):
        return cls(assets[SOURCE], assets[TARGET], **json.loads(assets[SETTINGS]))

    def in_graph(self):
        import tensorflow as tf
        import tensorflow_text

        from trainers.data import graph_text

        models, table, ids = (self.source, self.target), self.pieces, self.ids

        class MarianInGraph(tf.Module):
            def __init__(self):
                super().__init__()
                with filtered_stderr():
                    self.source, self.target = (
                        tensorflow_text.SentencepieceTokenizer(model, out_type=tf.string)
                        for model in models
                    )
                pairs = tf.lookup.KeyValueTensorInitializer(
                    list(ids), tf.constant(list(ids.values()), tf.int32)
                )
                self.ids = tf.lookup.StaticHashTable(pairs, ids[UNKNOWN])

            def tokenize(self, texts):
                answers = tf.strings.regex_full_match(texts, rf"(?s){ANSWER}.*")
                texts = tf.strings.regex_replace(texts, rf"\A{ANSWER}", "")
                code = tf.strings.regex_replace(texts, r"(?s)\A(>>.*?<<)?.*", r"\1")
                begin = tf.strings.length(code)
                texts = tf.strings.substr(texts, begin, tf.strings.length(texts) - begin)
                codes = tf.RaggedTensor.from_tensor(code[:, None])
                codes = tf.ragged.boolean_mask(codes, codes != "")
                source = self.source.tokenize(tf.where(answers, "", texts))
                target = self.target.tokenize(tf.where(answers, texts, ""))
                pieces = tf.concat([codes, source, target], axis=1)
                return pieces.with_flat_values(self.ids.lookup(pieces.flat_values))

            def detokenize(self, tokens):
                texts = graph_text.join(tf.constant(table), tokens)
                return tf.strings.regex_replace(texts, r"\A ", "")

        return MarianInGraph()


def is_code(text):
    return text.startswith(">>") and text.endswith("<<")
