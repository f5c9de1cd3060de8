"""The peers of beam search: Transformers' MarianMTModel, and CTranslate2 with that model's weights.

python scripts/benchmarks/beam_torch.py SIDE [SOURCES], "marian" or "ctranslate2": see `beam.py`.
"""

import os
import sys
import tempfile
import types

import beam
import torch
import turns
from transformers import MarianConfig, MarianMTModel

PADDING = beam.VOCABULARY_SIZE  # a token that Marian wants beside the others


def make_model():
    layers, heads, hidden_width = (
        {f"encoder_{name}": value, f"decoder_{name}": value}
        for name, value in (
            ("layers", beam.LAYERS),
            ("attention_heads", beam.HEADS),
            ("ffn_dim", beam.HIDDEN_WIDTH),
        )
    )
    torch.manual_seed(0)
    config = MarianConfig(
        vocab_size=beam.VOCABULARY_SIZE + 1,
        d_model=beam.WIDTH,
        **layers,
        **heads,
        **hidden_width,
        activation_function="relu",
        scale_embedding=True,
        pad_token_id=PADDING,
        decoder_start_token_id=PADDING,
        eos_token_id=beam.EOS,
        forced_eos_token_id=None,
    )
    return MarianMTModel(config).eval()


def marian():
    """Ways to translate by Transformers."""
    model = make_model()

    @torch.inference_mode()
    def translate(batches):
        return [
            answer.numel() - 1  # of which the first is the prompt
            for batch in batches
            for answer in model.generate(
                **batch,
                num_beams=beam.BEAMS,
                max_new_tokens=beam.NEW_TOKENS,
                min_new_tokens=beam.NEW_TOKENS,
                bad_words_ids=[[PADDING]],
                do_sample=False,
            )
        ]

    def way(size):
        def make(sources):
            batches = [padded(batch) for batch in beam.batches(sources, size)]
            return lambda: translate(batches)

        return make

    return {f"{size} at once": way(size) for size in beam.TOGETHER}


def padded(batch):
    length = max(map(len, batch))
    tokens = torch.tensor([[*source, *[PADDING] * (length - len(source))] for source in batch])
    return {"input_ids": tokens, "attention_mask": (tokens != PADDING).long()}


def ctranslate2():
    """Ways to translate by CTranslate2: one batch by all threads, or one by each."""
    import ctranslate2

    with tempfile.TemporaryDirectory() as folder:
        convert(make_model(), os.path.join(folder, "model"))
        translators = {
            threads: ctranslate2.Translator(
                os.path.join(folder, "model"),
                compute_type="float32",
                intra_threads=threads,
                inter_threads=turns.THREADS // threads,
            )
            for threads in (1, turns.THREADS)
        }

    def way(translator, size):
        def make(sources):
            words = [[str(token) for token in source] for source in sources]
            return lambda: [
                len(answer.hypotheses[0])
                for answer in translator.translate_batch(
                    words,
                    max_batch_size=size,
                    beam_size=beam.BEAMS,
                    max_decoding_length=beam.NEW_TOKENS,
                    min_decoding_length=beam.NEW_TOKENS,
                )
            ]

        return make

    return {
        f"{size} at once on {threads} of {turns.THREADS} threads": way(translator, size)
        for threads, translator in translators.items()
        for size in beam.TOGETHER
    }


def convert(model, folder):
    """As CTranslate2's converter does, which would read a tokenizer besides."""
    from ctranslate2.converters.transformers import MarianMTLoader

    loader = MarianMTLoader()
    spec = loader.get_model_spec(model)
    words = [str(token) for token in range(beam.VOCABULARY_SIZE)]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    special = types.SimpleNamespace(eos_token=str(beam.EOS), unk_token=words[-1])
    loader.set_config(spec.config, model, special)
    spec.validate()
    spec.optimize()
    os.makedirs(folder)
    spec.save(folder)


def main():
    side, *path = sys.argv[1:]
    torch.set_num_threads(turns.THREADS)
    ways = {"marian": marian, "ctranslate2": ctranslate2}[side]()
    beam.serve(beam.read_sources(*path), ways)


if __name__ == "__main__":
    main()
