"""pipeline(): Hugging Face's call and return shapes over an export. Needs TensorFlow alone."""

import os
import random

from trainers.startup import filtered_stderr

TASKS = {  # name -> (the layout an export must have, the key of an answer)
    "text-generation": ("language_modelling", "generated_text"),
    "text2text-generation": ("text_to_text", "generated_text"),
    "translation": ("text_to_text", "translation_text"),
}


def pipeline(task=None, model=None, **defaults):
    """A function from prompts to texts.

    ```python
    generate = pipeline("text-generation", model="runs/quickstart")
    generate("def ", max_new_tokens=60, num_return_sequences=3)
    # [{"generated_text": "def ..."}, {"generated_text": ...}, {"generated_text": ...}]
    ```

    Args:
      task: "text-generation", "text2text-generation" or "translation"; None for what
        the model was trained to do.
      model: folder of an export, or a model_dir that holds one.
      **defaults: of the options of `Pipeline.__call__`.

    Raises:
      FileNotFoundError: there is no export at `model`.
      ValueError: an unknown task or option, or a model trained for another task.
    """
    return Pipeline(task, model, **defaults)


class Pipeline:
    """What `pipeline` returns."""

    def __init__(self, task, model, **defaults):
        if task is not None and task not in TASKS:
            raise ValueError(f"task {task!r} is none of {', '.join(map(repr, TASKS))}")
        folder = find_export(model)

        with filtered_stderr():
            import tensorflow as tf
            import tensorflow_text  # noqa: F401, whose operations the tokenizers are made of

            self.export = tf.saved_model.load(folder)
        layout = self.export.describe()["layout"].numpy().decode()
        if task is None:
            task = next(name for name, (its_layout, _) in TASKS.items() if its_layout == layout)
        if TASKS[task][0] != layout:
            fitting = " or ".join(repr(name) for name in TASKS if TASKS[name][0] == layout)
            raise ValueError(
                f"{model} was trained for {layout}: its task is {fitting}, not {task!r}"
            )
        self.task = task
        self.defaults = defaults

    def __call__(self, prompts, **options):
        """Continues or answers one prompt or several.

        Args:
          prompts: a string or a list of strings.
          **options: those of `generate`, in place of the pipeline's defaults.

        Returns:
          For a string, a list of `num_return_sequences` dicts {"generated_text": str}
          ("translation_text" for translation); for a list, a list of such lists, or of
          single dicts where the task reads a source text and one sequence is asked for.
        """
        alone = isinstance(prompts, str)
        texts = self.generate([prompts] if alone else list(prompts), **self.defaults | options)
        key = TASKS[self.task][1]
        answers = [[{key: text} for text in row] for row in texts]
        if alone:
            return answers[0]
        if self.task != "text-generation" and all(len(row) == 1 for row in answers):
            return [row[0] for row in answers]
        return answers

    def generate(
        self,
        prompts,
        max_new_tokens=256,
        do_sample=None,
        temperature=None,
        top_k=None,
        top_p=None,
        num_return_sequences=1,
        return_full_text=None,
        stop=(),
        seed=None,
        batch_size=8,
    ):
        """The texts, a list of `num_return_sequences` strings for each prompt.

        Args:
          prompts: list of strings.
          max_new_tokens: the most tokens to generate.
          do_sample: draw at random rather than take the likeliest token. None: yes for
            text generation, and wherever an option of sampling is set.
          temperature: the logits are divided by it; 0 is the likeliest token. None: 0.7 for
            text generation as in Hugging Face's pipeline, else 1.
          top_k: draw among so many tokens; 0 for all. None: 50, as there.
          top_p: draw among the fewest tokens of this probability together; None for all.
          return_full_text: the prompt stands before the answer. None: in text generation.
          stop: a string or several; a text ends before the first of them.
          seed: int; the same seed gives the same texts. None for other ones each time.
          batch_size: prompts that run at once.
        """
        import tensorflow as tf

        generating = self.task == "text-generation"
        if do_sample is None:
            sampled = num_return_sequences > 1 or (temperature, top_k, top_p) != (None, None, None)
            do_sample = generating or sampled
        if temperature is None:
            temperature = 0.7 if generating else 1.0
        if not do_sample:
            temperature = 0.0
        if temperature < 0 or not 0 <= (1.0 if top_p is None else top_p) <= 1:
            raise ValueError("temperature must not be negative, and top_p lies between 0 and 1")
        if temperature == 0 and num_return_sequences > 1:
            raise ValueError(
                "without sampling all sequences are the same: set do_sample=True and a "
                "temperature, or num_return_sequences=1"
            )
        stop = [stop] if isinstance(stop, str) else list(stop)
        seed = random.SystemRandom().randrange(2**31) if seed is None else seed
        texts = []
        for first in range(0, len(prompts), batch_size):
            rows = self.export.generate(
                tf.constant(prompts[first : first + batch_size]),
                max_new_tokens=tf.constant(max_new_tokens, tf.int32),
                temperature=tf.constant(temperature, tf.float32),
                top_k=tf.constant(50 if top_k is None else top_k, tf.int32),
                top_p=tf.constant(1.0 if top_p is None else top_p, tf.float32),
                num_return_sequences=tf.constant(num_return_sequences, tf.int32),
                stop=tf.constant(stop, tf.string),
                seed=tf.constant((seed + first) % 2**31, tf.int32),
            )["text"]
            texts += [[text.decode(errors="replace") for text in row] for row in rows.numpy()]
        if generating if return_full_text is None else return_full_text:
            texts = [
                [prompt + text for text in row] for prompt, row in zip(prompts, texts, strict=True)
            ]
        return texts


def find_export(model):
    """The folder of the SavedModel at `model`, an export or a model_dir."""
    if model is None:
        raise ValueError("pipeline needs model=, the folder of an export or a model_dir")
    model = os.fspath(model)
    for folder in (model, os.path.join(model, "export")):
        if os.path.exists(os.path.join(folder, "saved_model.pb")):
            return folder
    if not os.path.isdir(model):
        raise FileNotFoundError(f"{model}: there is no such folder")
    raise FileNotFoundError(
        f"{model}: holds no export; make one with "
        f"python -m trainers.run --mode=export --model_dir={model}"
    )
