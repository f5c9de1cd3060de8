"""SentencePiece (Kudo and Richardson 2018), set up to lose nothing: text is its tokens, exactly."""

import functools
import io
import re

import numpy as np

from trainers.data.tokenizer_base import EOS, UNKNOWN, Tokenizer
from trainers.errors import UserError
from trainers.startup import filtered_stderr

# SentencePiece writes spaces as this character, so that in a text it must go in as bytes.
SPACE_MARK = "\u2581"
LINE_CHARACTERS = 1000


class EncodedInGraph(Tokenizer):
    """A tokenizer that encodes by the operations of exports.

    Where two segmentations are equally likely, versions of SentencePiece choose differently, and
    tensorflow-text has its own version.
    """

    def encode(self, text):
        return self.encode_batch([text])[0]

    def encode_batch(self, texts):
        import tensorflow as tf

        tokens = self.graph.tokenize(tf.constant(texts, tf.string, shape=[len(texts)]))
        return np.split(tokens.flat_values.numpy(), tokens.row_splits.numpy()[1:-1])

    @functools.cached_property
    def graph(self):
        return self.in_graph()


class SentencePieceTokenizer(EncodedInGraph):
    """A SentencePiece model; characters that it does not know are spelt in bytes.

    Args:
      model: the serialized model.
    """

    learns_subwords = True

    def __init__(self, model):
        import sentencepiece

        self.model = model
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.vocabulary_size = self.processor.get_piece_size()
        names = [f"<0x{byte:02X}>" for byte in SPACE_MARK.encode()]
        self.mark_ids = np.array([self.processor.piece_to_id(name) for name in names], np.int32)

    @classmethod
    def train(cls, texts, vocabulary_size):
        import sentencepiece

        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=lines(texts),
                model_writer=model,
                model_type=cls.model_type,
                vocab_size=vocabulary_size,
                normalization_rule_name="identity",
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                allow_whitespace_only_pieces=True,
                byte_fallback=True,
                eos_id=EOS,
                unk_id=UNKNOWN,
                bos_id=-1,
                pad_id=-1,
                eos_piece="<eos>",
                minloglevel=2,
            )
        except RuntimeError as error:
            reason = str(error).split("] ")[-1].strip()
            if largest := re.search(r"value <= (\d+)", reason):
                reason = f"the text has fewer pieces; {largest[1]} is the largest that works"
            elif smallest := re.search(r"required_chars. \d+ vs (\d+)", reason):
                reason = f"the text's characters alone take {smallest[1]}, the smallest that works"
            raise UserError(f"VOCABULARY_SIZE = {vocabulary_size}: {reason}") from None
        return cls(model.getvalue())

    def sample(self, text, alpha):
        """int32 [T], a text's ids as SentencePiece draws them: of BPE with this share of merges
        passed over, of a unigram model with probabilities to this power."""
        # One by one: for a list it starts a thread, and with it the same draws from the seed again.
        parts = [
            self.processor.encode(part, enable_sampling=True, alpha=alpha, nbest_size=-1)
            for part in text.split(SPACE_MARK)
        ]
        ids = [np.concatenate([self.mark_ids, np.array(part, np.int32)]) for part in parts]
        return np.concatenate(ids)[len(self.mark_ids) :]

    def decode_tokens(self, ids):
        return self.processor.decode(ids)

    def assets(self):
        return {"sentencepiece.model": self.model}

    @classmethod
    def from_assets(cls, assets):
        return cls(assets["sentencepiece.model"])

    def in_graph(self):
        import tensorflow as tf
        import tensorflow_text

        from trainers.data import graph_text

        model, mark_ids = self.model, self.mark_ids

        class SentencePieceInGraph(tf.Module):
            def __init__(self):
                super().__init__()
                with filtered_stderr():
                    self.pieces = tensorflow_text.SentencepieceTokenizer(model, out_type=tf.int32)

            def tokenize(self, texts):
                parts = tf.strings.split(texts, sep=SPACE_MARK)
                ids = self.pieces.tokenize(parts.flat_values)
                marks = tf.tile(mark_ids[None], [ids.nrows(), 1])
                marked = parts.with_flat_values(tf.concat([ids, marks], axis=1))
                return marked.merge_dims(1, 2)[:, : -len(mark_ids)]

            def detokenize(self, tokens):
                return self.pieces.detokenize(graph_text.before_end(tokens))

        return SentencePieceInGraph()


class UnigramTokenizer(SentencePieceTokenizer):
    """SentencePiece's unigram language model (Kudo 2018)."""

    kind = model_type = "unigram"


class SentencePieceBpeTokenizer(SentencePieceTokenizer):
    """SentencePiece's byte-pair encoding."""

    kind, model_type = "sentencepiece_bpe", "bpe"


def lines(texts):
    """Lines and pieces of lines: the trainer passes over whatever is long."""
    for text in texts:
        for line in text.split("\n"):
            for start in range(0, len(line), LINE_CHARACTERS):
                yield line[start : start + LINE_CHARACTERS]
