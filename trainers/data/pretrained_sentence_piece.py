"""SentencePiece as it comes with pretrained models: Llama 2, Mistral, Gemma, T5.

The model's own file, or what sentence_piece_model.py makes of tokenizer.json, is read by
tensorflow-text, in Python as in exports.
"""

import json

from trainers.data.sentence_piece import SPACE_MARK, EncodedInGraph
from trainers.data.sentence_piece_model import BYTE
from trainers.data.tokenizer_base import EOS, GOES_ON, PretrainedTokenizer
from trainers.startup import filtered_stderr

MODEL, SETTINGS, SOURCE = "sentencepiece.model", "settings.json", "pretrained.json"


class PretrainedSentencePieceTokenizer(EncodedInGraph, PretrainedTokenizer):
    """A SentencePiece model, but that its end of a text has id 0, and 0 that of the end.

    Special tokens are letters like others in texts, unless special_tokens.py makes them tokens.

    Args:
      model: the serialized model.
      eos_id: the model's id of the token that ends texts.
      special_ids: {text: the model's id} of the special tokens.
      vocabulary_size: number of ids, for models with more rows than there are tokens.
      leading_space, doubles: see `sentence_piece_model.Reading`; of a model that drops spaces None,
        for it puts its own there.
      begins_texts: see `Tokenizer`.
      description: what is in the tokenizer.json that the model was made of, or None.
    """

    kind = "pretrained_sentence_piece"

    def __init__(
        self,
        model,
        eos_id,
        special_ids,
        vocabulary_size,
        leading_space=None,
        doubles=False,
        begins_texts=True,
        description=None,
    ):
        from sentencepiece import sentencepiece_model_pb2

        self.model, self.eos_id, self.description = model, eos_id, description
        self.given_ids, self.vocabulary_size = special_ids, vocabulary_size
        self.leading_space, self.doubles = leading_space, doubles
        self.begins_texts = begins_texts
        self.special_ids = {text: int(self.swapped(i)) for text, i in special_ids.items()}
        self.proto = sentencepiece_model_pb2.ModelProto.FromString(model)
        self.drops_space = self.proto.normalizer_spec.add_dummy_prefix or bool(leading_space)
        if leading_space:
            self.proto.normalizer_spec.add_dummy_prefix = False
        self.pieces = [b""] * vocabulary_size
        for i, piece in enumerate(self.proto.pieces[:vocabulary_size]):
            self.pieces[self.swapped(i)] = self.bytes_of(piece)

    def bytes_of(self, piece):
        kind = piece.Type.Name(piece.type)
        if kind == "BYTE":
            return bytes([int(BYTE.fullmatch(piece.piece)[1], 16)])
        if kind == "UNKNOWN":
            return self.proto.trainer_spec.unk_surface.encode()
        if kind in ("NORMAL", "USER_DEFINED"):
            return piece.piece.replace(SPACE_MARK, " ").encode()
        return b""

    def decode_tokens(self, ids):
        text = b"".join(self.pieces[i] for i in ids).decode("utf-8", "replace")
        return text.removeprefix(" ") if self.drops_space else text

    def assets(self):
        settings = {
            "eos_id": self.eos_id,
            "special_ids": self.given_ids,
            "vocabulary_size": self.vocabulary_size,
            "leading_space": self.leading_space,
            "doubles": self.doubles,
            "begins_texts": self.begins_texts,
        }
        assets = {MODEL: self.model, SETTINGS: json.dumps(settings).encode()}
        if self.description is not None:
            assets[SOURCE] = json.dumps(self.description).encode()
        return assets

    @classmethod
    def from_assets(cls, assets):
        description = json.loads(assets[SOURCE]) if SOURCE in assets else None
        settings = json.loads(assets[SETTINGS])
        return cls(assets[MODEL], **settings, description=description)

    def in_graph(self):
        import tensorflow as tf
        import tensorflow_text

        from trainers.data import graph_text

        model, eos_id, drops_space = self.proto.SerializeToString(), self.eos_id, self.drops_space
        leading_space, table = self.leading_space, self.pieces
        begins = rf"\A([^{GOES_ON}])" if self.doubles else rf"\A([^{GOES_ON}{SPACE_MARK} ])"

        class PretrainedSentencePieceInGraph(tf.Module):
            def __init__(self):
                super().__init__()
                with filtered_stderr():
                    self.pieces = tensorflow_text.SentencepieceTokenizer(model, out_type=tf.int32)

            def tokenize(self, texts):
                if leading_space:
                    texts = tf.strings.regex_replace(texts, begins, r" \1")
                    texts = tf.strings.regex_replace(texts, rf"\A{GOES_ON}", "")
                tokens = self.pieces.tokenize(texts)
                ids = tokens.flat_values
                ids = tf.where(ids == eos_id, EOS, tf.where(ids == EOS, eos_id, ids))
                return tokens.with_flat_values(ids)

            def detokenize(self, tokens):
                texts = graph_text.join(tf.constant(table), tokens)
                return tf.strings.regex_replace(texts, r"\A ", "") if drops_space else texts

        return PretrainedSentencePieceInGraph()
