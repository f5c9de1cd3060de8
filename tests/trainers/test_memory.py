"""The arithmetic of the estimate, and what is refused; docs/benchmarks.md has it beside peaks."""

import dataclasses

import keras
import pytest

from trainers import machine, memory
from trainers.adaptation import LoRA
from trainers.errors import UserError
from trainers.machine import Memory
from trainers.memory import Plan
from trainers.optimizers import Muon
from zoo import LSTMLM, DecoderLM, EncoderDecoder

PLAN = Plan(rows=8, length=16)
OPTIMIZERS = {
    "SGD": keras.optimizers.SGD,
    "momentum": lambda: keras.optimizers.SGD(momentum=0.9),
    "AdamW": keras.optimizers.AdamW,
    "amsgrad": lambda: keras.optimizers.AdamW(amsgrad=True),
    "Lion": keras.optimizers.Lion,
    "Adafactor": keras.optimizers.Adafactor,
    "Muon": Muon,
}


def decoder(**settings):
    return DecoderLM(50, **{"num_layers": 2, "width": 16, "num_heads": 2} | settings)


def of(model, plan=PLAN, optimizer=keras.optimizers.AdamW):
    slots = memory.slot_bytes(optimizer(), model.trainable_variables)
    return memory.estimate(model, slots, plan)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_are_those_that_the_optimizer_would_make(name):
    variables = decoder().trainable_variables
    made = OPTIMIZERS[name]()
    before = len(made.variables)
    made.build(variables)
    expected = sum(4 * v.value.shape.num_elements() for v in made.variables[before:])
    # Adafactor's scalars that stand for nothing are not counted.
    assert memory.slot_bytes(OPTIMIZERS[name](), variables) == pytest.approx(expected, rel=0.01)


def test_weights_and_gradients_are_four_bytes_a_parameter():
    model = decoder()
    assert of(model).weights == of(model).gradients == 4 * model.count_params()


def test_a_block_keeps_the_ends_of_its_products_and_its_scores():
    # Widths 16: qkv 16 to 48, output 16 to 16, up 16 to 64, down 64 to 16; two heads.
    values, scores = (16 + 48) + (16 + 16) + (16 + 64) + (64 + 16), 2 * 16 * 16
    a_row = 2 * (1.15 * 4 * 16 * values + 1.5 * 4 * scores)
    assert of(decoder()).activations == pytest.approx(8 * a_row)


def test_an_encoder_decoder_keeps_each_side_by_its_own_length():
    model = EncoderDecoder(50, num_layers=1, width=16, num_heads=2)
    own, cross = 64 + 32 + 80 + 80, (16 + 16) + (16 + 16)
    values = 32 * own + 16 * (own + cross) + 32 * (16 + 32)
    scores = 2 * (32 * 32 + 16 * 16 + 16 * 32)
    expected = 8 * (1.15 * 4 * values + 1.5 * 4 * scores)
    plan = dataclasses.replace(PLAN, source_length=32)
    assert of(model, plan).activations == pytest.approx(expected)


def test_an_lstm_keeps_no_scores():
    expected = 8 * 1.15 * 4 * 16 * 2 * (16 + 64 + 16 + 64)
    assert of(LSTMLM(50, num_layers=2, width=16)).activations == pytest.approx(expected)


def test_scores_grow_with_the_square_of_the_length_and_all_else_with_the_length():
    one, two, four = (
        of(decoder(), dataclasses.replace(PLAN, length=n)).activations for n in (16, 32, 64)
    )
    assert four - 2 * two == pytest.approx(4 * (two - 2 * one)) and two > 2 * one


def test_an_update_takes_what_activations_leave_of_a_second_copy():
    few, many = (of(decoder(), dataclasses.replace(PLAN, rows=rows)) for rows in (8, 1))
    one = of(decoder(), dataclasses.replace(PLAN, rows=1, length=1))
    assert one.update == 3 * one.weights - one.activations - one.logits > 0
    assert many.update < one.update and few.update == 0


def test_micro_batches_keep_their_share_and_sums_of_gradients():
    whole, parts = of(decoder()), of(decoder(), dataclasses.replace(PLAN, accumulation=4))
    assert parts.activations == whole.activations / 4
    assert parts.gradients == 3 * whole.gradients


def test_with_low_rank_updates_the_rest_has_neither_gradients_nor_slots():
    model = decoder()
    whole = of(model)
    LoRA(rank=1).apply(model)
    adapted = of(model)
    assert adapted.gradients == 4 * 2 * (16 + 48) < whole.gradients / 10
    assert adapted.activations == whole.activations


def test_rematerialised_blocks_keep_their_inputs_and_one_block_its_values():
    plain, deep = (of(decoder(num_layers=n)).activations for n in (8, 16))
    again = dataclasses.replace(PLAN, rematerialise=True)
    few, many = (of(decoder(num_layers=n), again).activations for n in (8, 16))
    assert many - few == pytest.approx(8 * 1.15 * 4 * 8 * 16 * 16)
    assert few < plain and many - few < (deep - plain) / 10


def test_averages_half_precision_dropout_and_no_xla_count():
    plain = of(decoder())
    averaged = of(decoder(), dataclasses.replace(PLAN, averages=True))
    assert averaged.total - plain.total == plain.weights
    assert of(decoder(dropout=0.1)).activations > plain.activations
    assert of(decoder(), dataclasses.replace(PLAN, xla=False)).activations > plain.activations
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert of(decoder()).activations < plain.activations


def test_logits_are_no_more_than_a_chunk():
    huge = dataclasses.replace(PLAN, rows=2**24)
    assert of(decoder(), huge).logits == 12 * 2**25
    assert of(decoder()).logits == 12 * 8 * 16 * 50


@pytest.fixture
def refusal(monkeypatch):
    """What is said of a plan in so many bytes; "" where nothing is."""

    def refusal(bytes_, model=None, replicas=1, shared=True, **plan):
        there = Memory(int(bytes_), "left on this machine", shared)
        monkeypatch.setattr(machine, "memory", lambda: there)
        plan = dataclasses.replace(PLAN, **{"rows": 2**16, **plan})
        try:
            memory.check(model or decoder(), keras.optimizers.AdamW(), plan, replicas)
        except UserError as error:
            return str(error)
        return ""

    return refusal


def test_a_run_is_refused_in_one_line_with_its_parts_and_what_would_help_most_first(refusal):
    said = refusal(1e9, decoder(num_layers=8))
    assert said.count("\n") == 0
    assert said.startswith("training needs about ") and "and there is 1 GB" in said
    assert "activations" in said and "weights" in said
    ways = [way.split(" needs ") for way in said.split("; ")[1].split(", ")]
    names = [name for name, _ in ways]
    assert set(names) >= {"DecoderLM.rematerialise = True", "SEQUENCE_LENGTH = 8"}
    sizes = [float(size.split()[0]) * {"GB": 1000, "MB": 1}[size.split()[1]] for _, size in ways]
    assert sizes == sorted(sizes)


def test_the_advised_accumulation_is_the_least_that_fits(refusal):
    said = refusal(1e9)
    (advised,) = (int(part.split()[2]) for part in said.split("; ")[1].split(", ") if "ACC" in part)
    fewer, enough = (
        of(decoder(), Plan(2**16, 16, accumulation=n)).total for n in (advised // 2, advised)
    )
    assert enough <= 1e9 < fewer


def test_no_advice_is_what_is_done_already(refusal):
    model = decoder(rematerialise=True)
    LoRA().apply(model)
    said = refusal(1e8, model, rematerialise=True)
    assert "rematerialise" not in said and "LoRA" not in said


def test_what_may_or_may_not_fit_is_said_and_not_refused(refusal, capsys):
    needed = of(decoder(), dataclasses.replace(PLAN, rows=2**16)).total
    assert refusal(needed / 1.2) == "" and "it may fail" in capsys.readouterr().out
    assert refusal(needed) == "" and capsys.readouterr().out == ""
    assert refusal(needed / 1.4)


def test_replicas_share_the_memory_of_a_machine_but_not_that_of_gpus(refusal):
    needed = of(decoder(), dataclasses.replace(PLAN, rows=2**16)).total
    assert "for each of 2 replicas" in refusal(needed, replicas=2)
    assert refusal(needed, replicas=2, shared=False) == ""
