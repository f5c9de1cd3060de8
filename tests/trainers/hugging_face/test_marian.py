"""Marian's tokenizer, of two models. Truth: Transformers where it is installed."""

import io
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.data.byte_pairs import varied
from tests.trainers.data.sentence_pieces import LETTERS, model_of
from tests.trainers.hugging_face.runs import run
from trainers.data import tokenizers
from trainers.data.tokenizer_base import ANSWER
from trainers.errors import UserError
from trainers.exported import ExportedModel
from trainers.hugging_face import tokenizer

TEXTS = [t for t in varied(600) if not any(s in t for s in ("<|", "</s>", "<pad>", "<unk>"))]
TEXTS = [">>de<< hello", ">>xx<<hello there", ">>de", "", *TEXTS]
MARIAN = {
    "model_type": "marian",
    "d_model": 32,
    "scale_embedding": True,
    "activation_function": "swish",
    "max_position_embeddings": 64,
    **{
        f"{stack}_{name}": value
        for stack in ("encoder", "decoder")
        for name, value in {"layers": 2, "attention_heads": 4, "ffn_dim": 48}.items()
    },
}


def other_model():
    """A model that cuts texts otherwise than that of the source."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LETTERS * 2 + varied(100, seed=4)),
        model_writer=written,
        vocab_size=270,
        character_coverage=0.98,
        minloglevel=2,
    )
    return written.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint's folder without weights; most pieces of both models have an id."""
    from sentencepiece import sentencepiece_model_pb2

    path = tmp_path_factory.mktemp("marian")
    models = {"source.spm": model_of("t5"), "target.spm": other_model()}
    pieces = {"</s>": 0, "<unk>": 1}
    for name, model in models.items():
        (path / name).write_bytes(model)
        for piece in sentencepiece_model_pb2.ModelProto.FromString(model).pieces[3:-9]:
            pieces.setdefault(piece.piece, len(pieces))
    for text in (">>de<<", ">>fr<<", "<pad>"):
        pieces[text] = len(pieces)
    (path / "vocab.json").write_text(json.dumps(pieces))
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "MarianTokenizer"}')
    pad = pieces["<pad>"]
    named = {"pad_token_id": pad, "decoder_start_token_id": pad, "eos_token_id": 0}
    config = {**MARIAN, **named, "vocab_size": len(pieces), "is_encoder_decoder": True}
    (path / "config.json").write_text(json.dumps(config))
    return str(path)


def test_ids_of_both_sides_are_those_of_transformers(folder, transformers):
    theirs = transformers.MarianTokenizer.from_pretrained(folder)
    ours = tokenizer.load(folder)
    ours = type(ours).from_assets(ours.assets())
    differing = 0
    for text in TEXTS:
        source = ours.encode(text).tolist()
        target = ours.encode(ANSWER + text).tolist()
        assert [*source, 0] == theirs(text)["input_ids"], text
        assert [*target, 0] == theirs(text_target=text)["input_ids"], text
        differing += source != target
        expected = theirs.decode(target, skip_special_tokens=True, use_source_tokenizer=False)
        assert (
            ours.decode(target).strip() == expected.replace("<unk>", "").strip() or 1 in target
        ), text
    assert differing > len(TEXTS) // 2


def test_python_and_exports_read_and_write_the_same(folder):
    ours = tokenizers.train_tokenizer(folder, iter(()))
    graph = ours.in_graph()
    both = [*TEXTS[:100], *(ANSWER + text for text in TEXTS[:100])]
    rows = graph.tokenize(both)
    for text, found in zip(both, rows.to_list(), strict=True):
        assert ours.encode(text).tolist() == found, text
    for found, text in zip(rows.to_list(), graph.detokenize(rows).numpy(), strict=True):
        assert ours.decode(found) == text.decode()


def test_it_is_written_again(folder, tmp_path):
    assert tokenizer.write(tokenizer.load(folder), str(tmp_path))
    for name in ("source.spm", "target.spm"):
        with open(os.path.join(folder, name), "rb") as file:
            assert (tmp_path / name).read_bytes() == file.read()


def test_transformers_reads_what_is_written(folder, tmp_path, transformers):
    assert tokenizer.write(tokenizer.load(folder), str(tmp_path))
    first, second = map(transformers.MarianTokenizer.from_pretrained, (folder, str(tmp_path)))
    for text in TEXTS[:100]:
        assert second(text) == first(text)
        assert second(text_target=text) == first(text_target=text)


def test_what_lacks_a_part_is_one_clear_line(folder, tmp_path):
    for name in os.listdir(folder):
        if name not in ("target.spm", "tokenizer_config.json"):
            os.symlink(os.path.join(folder, name), tmp_path / name)
    with pytest.raises(UserError, match=r"has source.spm, and no target.spm"):
        tokenizer.load(str(tmp_path))
    os.symlink(os.path.join(folder, "target.spm"), tmp_path / "target.spm")
    (tmp_path / "vocab.json").unlink()
    (tmp_path / "vocab.json").write_text('{"</s>": 0, "a": 1}')
    with pytest.raises(UserError, match="vocab.json has no '<unk>', for pieces without an id"):
        tokenizer.load(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text('{"separate_vocabs": true}')
    with pytest.raises(UserError, match="ids of their own, which is not read here"):
        tokenizer.load(str(tmp_path))
    with pytest.raises(UserError, match="reads every text as a whole"):
        tokenizers.train_tokenizer(folder, iter(()), special_tokens=("<|user|>",))


@pytest.mark.slow
def test_a_checkpoint_writes_what_transformers_does_and_trains_on(
    folder, tmp_path, torch, transformers
):
    torch.manual_seed(0)
    config = transformers.MarianConfig.from_pretrained(folder, init_std=0.5)
    model = transformers.MarianMTModel(config).eval()
    model.generation_config.forced_eos_token_id = None  # at the greatest length
    source = tmp_path / "source"
    model.save_pretrained(source)
    reader = transformers.MarianTokenizer.from_pretrained(folder)
    for name in ("source.spm", "target.spm", "vocab.json", "tokenizer_config.json"):
        os.symlink(os.path.join(folder, name), source / name)
    assert run("scripts/convert.py", source, tmp_path / "run").returncode == 0
    done = run("-m trainers.run", "--mode=export", f"--model_dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    export = ExportedModel(str(tmp_path / "run" / "export"))
    for prompt in (">>de<< hello there", "Ein Müller"):
        with torch.no_grad():
            (whole,) = model.generate(
                **reader(prompt, return_tensors="pt"), num_beams=1, max_new_tokens=8
            ).tolist()
        found = export.functions.generate(prompts=tf.constant([prompt]), max_new_tokens=8)
        tokens = found["tokens"][0, 0, : int(found["num_tokens"][0, 0])].numpy()
        np.testing.assert_array_equal(tokens, whole[1 : 1 + len(tokens)])

    for language in ("en", "de"):
        (tmp_path / f"train.{language}").write_text("hello there\nhow are you\n" * 20)
    done = run(
        "-m trainers.run",
        "--gin_file=configs/recipes/finetune_translation.gin",
        f"--model_dir={tmp_path / 'tuned'}",
        f'--gin_param=INIT = "{source}"',
        f'--gin_param=TRAIN_FILES = "{tmp_path}/train.{{language}}"',
        "--gin_param=train.callbacks = []",
        "--gin_param=Experiment.checkpoint = 'newest'",
        "--gin_param=SEQUENCE_LENGTH = 32",
        "--gin_param=BATCH_SIZE = 2",
        "--gin_param=STEPS = 2",
        "--gin_param=EVAL_EVERY = 2",
    )
    assert done.returncode == 0, done.stderr
    assert "exported step 2" in done.stdout
