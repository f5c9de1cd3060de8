"""A server under 16 streaming clients, against one request at a time; prints JSON.

python scripts/benchmarks/serving.py: GPT-2 12x768 with a vocabulary of bytes, prompts of 32
bytes, 64 more for each.
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


def ask(client, model, i):
    """(seconds to the first text, tokens) of a streamed completion."""
    start, first, tokens = time.perf_counter(), None, 0
    stream = client.completions.create(
        model=model,
        prompt=f"{i:032d}",
        max_tokens=NEW_TOKENS,
        stream=True,
        stream_options={"include_usage": True},
        seed=i,
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


def main():
    import openai

    with tempfile.TemporaryDirectory() as folder:
        export = os.path.join(folder, "export")
        writing = "import sys, serving; serving.write(sys.argv[1])"
        here = os.path.dirname(os.path.abspath(__file__))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([sys.executable, "-c", writing, export], cwd=here, check=True, **quiet)
        command = [sys.executable, "scripts/serve.py", f"--model={export}", "--port=0"]
        server = subprocess.Popen(
            [*command, f"--max_batch_size={CLIENTS}"],
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

            def together():
                return list(pool.map(lambda i: ask(client, model, i), range(CLIENTS)))

            alone(), together()  # what is compiled at first use is
            turns = [(measure(alone), measure(together)) for _ in range(3)]
        finally:
            server.terminate()
            server.wait()
    one, many = (
        [statistics.median(figures) for figures in zip(*side, strict=True)]
        for side in zip(*turns, strict=True)
    )
    print(json.dumps({"alone": one[0], "together": many[0], "first": one[1], "firsts": many[1]}))


if __name__ == "__main__":
    main()
