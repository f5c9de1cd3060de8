"""Translation by a beam of 4, with the shape of transformer_tiny: 1000 sources, 16 tokens for each.

python scripts/benchmark.py --only=beam --lines=SOURCES compares what an export runs, by default
and with export.xla = True, with Transformers' MarianMTModel and with CTranslate2 in float32, see
beam_torch.py. Weights are random; words of a file become tokens by their checksum, and without a
file sentences are made up. All sides get the same tokens, sorted by length, and draw the same
number; each chooses how many sentences it reads at once.

python scripts/benchmarks/beam.py SIDE [SOURCES] is our side as of turns.py, "export" or "xla", in
sentences a second. Before it is ready it prints what it chose.
"""

import os
import statistics
import sys
import zlib

import turns

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

# configs/models/transformer_tiny.gin, and about as many tokens as there are for Multi30k.
LAYERS, WIDTH, HIDDEN_WIDTH, HEADS, VOCABULARY_SIZE = 4, 128, 256, 4, 10_000
SENTENCES, SAMPLE, NEW_TOKENS, BEAMS = 1000, 100, 16, 4
TOGETHER = (8, 16, 32, 64)
EOS = 0
# side -> (its program, its name in the table)
SIDES = {
    "export": ("beam.py", "an export"),
    "xla": ("beam.py", "an export with XLA"),
    "marian": ("beam_torch.py", "Transformers' Marian"),
    "ctranslate2": ("beam_torch.py", "CTranslate2 float32"),
}
# (ours, the peer, what is to reach)
COMPARED = (
    ("export", "marian", "> 1.0 x"),
    ("export", "ctranslate2", ""),
    ("xla", "marian", ""),
    ("xla", "ctranslate2", ""),
)


def rows(peer_python, repeats, seconds, lines=None):
    """A table's rows: the work, (figures, what was chosen) of ours and of the peer, their ratio."""
    here = os.path.dirname(os.path.abspath(__file__))
    pythons = {"beam.py": sys.executable, "beam_torch.py": peer_python}
    given = [os.path.abspath(lines)] if lines else []
    commands = [
        [pythons[program], os.path.join(here, program), side, *given]
        for side, (program, _) in SIDES.items()
    ]
    with turns.started(commands) as sides:
        figures = dict(zip(SIDES, turns.turns_of(sides, repeats, seconds), strict=True))
        chosen = {name: side.note for name, side in zip(SIDES, sides, strict=True)}
    for ours, peer, to_reach in COMPARED:
        ratio = statistics.median(figures[ours]) / statistics.median(figures[peer])
        yield (
            f"beam of {BEAMS}: {SIDES[ours][1]}, {SIDES[peer][1]}",
            *((figures[side], chosen[side]) for side in (ours, peer)),
            f"{ratio:.2f}",
            to_reach,
        )


def read_sources(path=None):
    """The sources' tokens, the shortest first, each with EOS at its end."""
    return sorted((made_up() if path is None else hashed(path)), key=len)


def made_up():
    """As long as the sentences of Multi30k."""
    import numpy as np

    generator = np.random.default_rng(0)
    lengths = np.clip(np.rint(generator.normal(12, 4, SENTENCES)), 3, 40).astype(int)
    return [[*generator.integers(1, VOCABULARY_SIZE, n).tolist(), EOS] for n in lengths]


def hashed(path):
    """The first lines of a file."""
    with open(path, encoding="utf-8") as file:
        sources = [
            [1 + zlib.crc32(word.encode()) % (VOCABULARY_SIZE - 1) for word in line.split()] + [EOS]
            for line, _ in zip(file, range(SENTENCES), strict=False)
        ]
    if len(sources) < SENTENCES:
        raise SystemExit(f"{path}: {len(sources)} lines are fewer than {SENTENCES}")
    return sources


def batches(sources, size):
    return [sources[i : i + size] for i in range(0, len(sources), size)]


def serve(sources, ways):
    """A side that works in the way that is fastest for a sample of the sources.

    Args:
      ways: dict from what is chosen to a function of sources, which makes one that translates
        them and returns how many tokens each translation has.
    """
    sample = sources[:: len(sources) // SAMPLE]
    found = {way: turns.seconds_of_a_step(make(sample)) for way, make in ways.items()}
    fastest = min(found, key=found.get)
    translate = ways[fastest](sources)
    counts = translate()
    if counts != [NEW_TOKENS] * len(sources):
        raise SystemExit(f"{len(counts)} translations of {set(counts)} tokens")
    print(fastest, flush=True)
    turns.serve(translate, len(sources))


def make_model():
    """Weights are random, but for those that never let a text end."""
    import keras

    from zoo import EncoderDecoder

    keras.utils.set_random_seed(0)
    model = EncoderDecoder(
        VOCABULARY_SIZE, LAYERS, width=WIDTH, num_heads=HEADS, hidden_width=HIDDEN_WIDTH
    )
    # One direction is EOS' alone, and every hidden vector points away from it.
    table, shift = model.embedding.table, model.decoder_norm.beta
    values, shifts = table.numpy(), shift.numpy()
    values[:, 0], values[EOS], values[EOS, 0], shifts[0] = 0, 0, -1, 100
    table.assign(values), shift.assign(shifts)
    return model


def inputs_of(sources):
    """What a TextModel hands to its search: a prompt of <eos> alone, sources in few lengths."""
    import tensorflow as tf

    from trainers.prompts import rounded
    from trainers.text_model import buffer

    rows, lengths = len(sources), [len(source) for source in sources]
    length = int(rounded(tf.constant(max(lengths))))
    limits = tf.fill([rows], NEW_TOKENS)
    features = {
        "padding": tf.ones([rows], tf.int32),
        "source": tf.ragged.constant(sources).to_tensor(shape=[rows, length]),
        "source_segments": tf.sequence_mask(lengths, length, tf.int32),
    }
    prompts = tf.fill([rows, 2], EOS)
    options = (tf.constant(1.0), tf.constant(False), tf.constant(False))
    return prompts, limits, buffer(limits), tf.zeros([BEAMS]), *options, features


def make_search(xla):
    """`beam_search.search` of a model as in a TextModel: one graph for all shapes."""
    import tensorflow as tf

    from zoo.decoding import beam_search

    model = make_model()
    if xla:
        model.compact("float32")

    def unknown(x):
        return tf.TensorSpec([None] * x.shape.rank, x.dtype)

    return tf.function(
        lambda *args: beam_search.search(model, *args),
        input_signature=tf.nest.map_structure(unknown, inputs_of([[1, EOS]])),
        autograph=False,
        jit_compile=xla,
    )


def main():
    side, *path = sys.argv[1:]
    from trainers import startup

    startup.import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(turns.THREADS)
    sources, search = read_sources(*path), make_search(xla=side == "xla")

    def way(size):
        def make(sources):
            inputs = [inputs_of(batch) for batch in batches(sources, size)]
            return lambda: [n for each in inputs for n in search(*each)["lengths"][:, 0].numpy()]

        return make

    serve(sources, {f"{size} at once": way(size) for size in TOGETHER})


if __name__ == "__main__":
    main()
