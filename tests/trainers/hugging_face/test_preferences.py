"""Truth: the loss of preferences by PyTorch, on a model of Transformers."""

import numpy as np
import tensorflow as tf

from tests.trainers.data.made import preference_store
from tests.trainers.hugging_face.checkpoints import LLAMA
from trainers.chunked_loss import loss_and_gradients
from trainers.data.pair_batches import pairs
from trainers.hugging_face.load import save_model
from trainers.preferences import DPO
from zoo import DecoderLM

TRIPLES = [("hello", "good day", "go"), ("a", "b", "c, d and e"), ("one two", "three", "none")]
BETA, SMOOTHING = 0.3, 0.1


def test_loss_rewards_and_gradient_are_those_of_pytorch(tmp_path, torch, transformers):
    functional = torch.nn.functional
    model = DecoderLM(257, **LLAMA)
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight + 0.1 * random.normal(size=weight.shape))
    save_model(model, str(tmp_path / "model"))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(str(tmp_path / "model")).eval()
    plan = pairs(preference_store(tmp_path, TRIPLES), 3, 24, training=False)
    plan.reference = random.normal(-60, 3, (3, 2)).astype("float32")
    features = plan.batch(0)

    losses, rewards = [], []
    for triple, reference in zip(TRIPLES, plan.reference.tolist(), strict=True):
        prompt, *answers = ([0 if c == "$" else ord(c) + 1 for c in f"{text}$"] for text in triple)
        of_pair = []
        for answer, known in zip(answers, reference, strict=True):
            row = torch.tensor([[0, *prompt, *answer]])
            log_p = functional.log_softmax(theirs(input_ids=row[:, :-1]).logits.float(), dim=-1)
            each = log_p.gather(-1, row[:, 1:, None])[0, :, 0]
            of_pair.append(BETA * (each[-len(answer) :].sum() - known))
        margin = of_pair[0] - of_pair[1]
        right, wrong = functional.logsigmoid(margin), functional.logsigmoid(-margin)
        losses.append(-(1 - SMOOTHING) * right - SMOOTHING * wrong)
        rewards.append([reward.item() for reward in of_pair])
    loss = sum(losses)
    loss.backward()

    sums, gradients, _ = loss_and_gradients(
        model, DPO(BETA, SMOOTHING), {k: tf.constant(v) for k, v in features.items()}, ()
    )
    rewards = np.array(rewards)
    right = (rewards[:, 0] > rewards[:, 1]).sum()
    assert 0 < right < 3
    np.testing.assert_allclose(sums, [loss.item(), 3, right, *rewards.sum(0)], rtol=1e-5)
    found = np.sqrt(sum(float(tf.reduce_sum(g**2)) for g in gradients))
    expected = np.sqrt(sum(float((p.grad**2).sum()) for p in theirs.parameters()))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
