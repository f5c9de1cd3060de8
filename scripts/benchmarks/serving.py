"""A server under 16 streaming clients, against its export called for one prompt at a time.

python scripts/benchmarks/serving.py [FLAGS OF SERVE.PY]: GPT-2 12x768 with a vocabulary of bytes,
prompts of 32 tokens, 64 more for each. Prints JSON: {"export" | "together" | "alone" | "at once" | "in turn":
[tokens a second, seconds to the first text, the median of the requests]}.

  export   `generate` for one prompt after another, without a server; first by `start`
  together the same for 16 prompts at once
  alone    one client of the server
  at once  16 clients that ask in the same moment
  in turn  16 clients that ask three times, the first times spread evenly over what an answer takes;
           tokens a second while all of them are at it
"""

import concurrent.futures
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import typing
import urllib.request

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
        export.start(prompts=prompts, max_new_tokens=limit)["text"].numpy()
        return time.perf_counter() - start

    def speed(count):
        prompts = tf.constant([PROMPT(i) for i in range(count)])
        generate(prompts), first(prompts)  # what is compiled at first use is
        return [statistics.median(f(prompts) for _ in range(5)) for f in (generate, first)]

    return {"export": speed(1), "together": speed(CLIENTS)}


def ask(address, model, i, wait=0.0):
    """An `Answer`: a streamed completion, asked for after a while."""
    body = {
        "model": model,
        "prompt": PROMPT(i),
        "max_tokens": NEW_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
        "seed": i,
        "temperature": 0,
    }
    headers = {"Content-Type": "application/json"}
    time.sleep(wait)
    start, first, last = time.perf_counter(), None, None
    # Not by the `openai` package: it would take a share of the two cores for each piece of text.
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=300)
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"{address} answers {response.status}: {response.read().decode()}")
    for line in response:
        if line.startswith(b"data: {"):
            if first is None and b'"text":""' not in line.replace(b" ", b""):
                first = time.perf_counter() - start
            last = line
    end = time.perf_counter()
    connection.close()
    tokens = json.loads(last.removeprefix(b"data: "))["usage"]["completion_tokens"]
    return Answer(start, first or end - start, end, tokens)


class Answer(typing.NamedTuple):
    start: float  # when it was asked for
    first: float  # seconds to its first text
    end: float
    tokens: int


def measure(ask_all):
    """(tokens a second, seconds to the first text) of each client's answers.

    Tokens count from when the last client begins until the first one ends, an answer's as if they
    came evenly; clients that begin together count until the last one ends.
    """
    clients = ask_all()
    answers = [answer for its in clients for answer in its]
    begin = max(its[0].start for its in clients)
    end = (min if len(clients[0]) > 1 else max)(its[-1].end for its in clients)
    tokens = sum(
        max(0.0, min(end, its.end) - max(begin, its.start)) / (its.end - its.start) * its.tokens
        for its in answers
    )
    return tokens / (end - begin), statistics.median(its.first for its in answers)


def measure_server(export, more):
    """The other three; see the top of the file."""
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
        with urllib.request.urlopen(f"{address}/v1/models") as models:
            model = json.load(models)["data"][0]["id"]
        pool = concurrent.futures.ThreadPoolExecutor(CLIENTS)

        def alone():
            return [[ask(address, model, i) for i in range(3)]]

        def at_once(count=CLIENTS):
            return list(pool.map(lambda i: [ask(address, model, i)], range(count)))

        def three_times(i):
            # An answer takes as long as 64 steps of 16 rows.
            first = ask(address, model, i, wait=i / CLIENTS * answer_s)
            return [first, *(ask(address, model, i + CLIENTS * turn) for turn in (1, 2))]

        def in_turn():
            return list(pool.map(three_times, range(CLIENTS)))

        answer_s = 1.0
        kinds = {"alone": alone, "at once": at_once, "in turn": in_turn}
        # What is compiled at first use is, for every number of rows.
        for count in (1, 2, 4, 8, CLIENTS):
            at_once(count)
        in_turn()
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
