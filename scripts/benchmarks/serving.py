"""A server under 16 streaming clients, against its export called for one prompt at a time.

python scripts/benchmarks/serving.py [FLAGS OF SERVE.PY]: GPT-2 12x768 with a vocabulary of bytes,
prompts of 32 tokens, 64 more for each. Prints JSON: {"export" | "together" | "alone" | "at once" | "in turn":
[tokens a second, seconds to the first text, the median of the requests]}.

  export   `generate` for one prompt after another, without a server; first by `start` and `next`
  together the same for 16 prompts at once
  alone    one client of the server
  at once  16 clients that ask in the same moment
  in turn  16 clients that ask three times, the first times spread evenly over what an answer takes
"""

import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, ROOT)

CLIENTS, NEW_TOKENS = 16, 64
PROMPT = "{:031d}".format  # and the <eos> before it


def write(folder):
    """An export of weights at random."""
    from trainers import startup

    startup.import_tensorflow()
    import keras

    from trainers.data.tokenizers import train_tokenizer
    from trainers.export import export_model
    from zoo import DecoderLM

    keras.utils.set_random_seed(0)
    tokenizer = train_tokenizer("bytes", [], vocabulary_size=None)
    model = DecoderLM(tokenizer.vocabulary_size, 12, 768, 12).compact("float32")
    export_model(model, tokenizer, folder, "language_modelling", 128, xla=True)


def measure_export(folder):
    """What the export itself does."""
    from trainers import startup

    startup.import_tensorflow()
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    export = tf.saved_model.load(folder)
    limit = tf.constant(NEW_TOKENS)

    def generate(prompts):
        start = time.perf_counter()
        made = export.generate(prompts=prompts, max_new_tokens=limit)
        tokens = int(tf.reduce_sum(made["num_tokens"]))
        return tokens / (time.perf_counter() - start)

    def first(prompts):
        start = time.perf_counter()
        state = export.start(prompts=prompts, max_new_tokens=limit)
        export.next(state=state, steps=tf.constant(1))["text"].numpy()
        return time.perf_counter() - start

    def speed(count):
        prompts = tf.constant([PROMPT(i) for i in range(count)])
        generate(prompts), first(prompts)  # what is compiled at first use is
        return [statistics.median(f(prompts) for _ in range(5)) for f in (generate, first)]

    return {"export": speed(1), "together": speed(CLIENTS)}


def ask(client, model, i, wait=0.0):
    """(seconds to the first text, tokens) of a streamed completion, asked after a while."""
    time.sleep(wait)
    start, first, tokens = time.perf_counter(), None, 0
    stream = client.completions.create(
        model=model,
        prompt=PROMPT(i),
        max_tokens=NEW_TOKENS,
        stream=True,
        stream_options={"include_usage": True},
        seed=i,
        temperature=0,
    )
    for chunk in stream:
        if first is None and chunk.choices and chunk.choices[0].text:
            first = time.perf_counter() - start
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return first or time.perf_counter() - start, tokens


def measure(ask_all):
    """(tokens a second, seconds to the first text)"""
    start = time.perf_counter()
    answers = ask_all()
    seconds = time.perf_counter() - start
    firsts, tokens = zip(*answers, strict=True)
    return sum(tokens) / seconds, statistics.median(firsts)


def measure_server(export, more):
    """The other three; see the top of the file."""
    import openai

    command = [sys.executable, "scripts/serve.py", f"--model={export}", "--port=0"]
    server = subprocess.Popen(
        [*command, f"--max_batch_size={CLIENTS}", *more],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        address = server.stdout.readline().split()[-1]
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", timeout=300)
        model = client.models.list().data[0].id
        pool = concurrent.futures.ThreadPoolExecutor(CLIENTS)

        def alone():
            return [ask(client, model, i) for i in range(3)]

        def at_once():
            return list(pool.map(lambda i: ask(client, model, i), range(CLIENTS)))

        def three_times(i):
            # An answer takes as long as 64 steps of 16 rows.
            first = ask(client, model, i, wait=i / CLIENTS * answer_s)
            return [first, *(ask(client, model, i + CLIENTS * turn) for turn in (1, 2))]

        def in_turn():
            return [answer for its in pool.map(three_times, range(CLIENTS)) for answer in its]

        answer_s = 1.0
        kinds = {"alone": alone, "at once": at_once, "in turn": in_turn}
        for ask_all in kinds.values():  # what is compiled at first use is
            ask_all()
        answer_s = CLIENTS * NEW_TOKENS / measure(at_once)[0]
        turns = [{kind: measure(ask_all) for kind, ask_all in kinds.items()} for _ in range(3)]
    finally:
        server.terminate()
        server.wait()
    return {kind: medians([turn[kind] for turn in turns]) for kind in kinds}


def medians(pairs):
    return [statistics.median(figures) for figures in zip(*pairs, strict=True)]


def main():
    steps = {"write": write, "export": measure_export}
    if sys.argv[1:] and sys.argv[1] in steps:
        step, folder = sys.argv[1:]
        print(json.dumps(steps[step](folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        export = os.path.join(folder, "export")

        def run(step):
            command = [sys.executable, os.path.abspath(__file__), step, export]
            output = subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True)
            return json.loads(output.splitlines()[-1])

        run("write")
        # Before and after the server, lest the machine be another in between.
        before = run("export")
        served = measure_server(export, sys.argv[1:])
        after = run("export")
        exports = {name: medians([before[name], after[name]]) for name in before}
        print(json.dumps({**exports, **served}))


if __name__ == "__main__":
    main()
