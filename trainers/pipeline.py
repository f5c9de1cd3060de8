"""pipeline(): Hugging Face's call and return shapes over an export. Needs TensorFlow alone."""

import math
import os
import re
from typing import NamedTuple

from trainers import generation_options
from trainers.conversations import is_conversation, prompts_of, with_answer
from trainers.startup import filtered_stderr

LANGUAGE_MODELLING, TEXT_TO_TEXT = LAYOUTS = ("language_modelling", "text_to_text")


class Task(NamedTuple):
    """What a pipeline may be made for.

    Args:
      layouts: which an export may have.
      key: of an answer.
      options: beside those of generation, or for classes in place of them.
    """

    layouts: tuple
    key: str
    options: tuple = ()


TASKS = {
    "text-generation": Task((LANGUAGE_MODELLING,), "generated_text", ("return_full_text",)),
    "text2text-generation": Task((TEXT_TO_TEXT,), "generated_text"),
    "translation": Task((TEXT_TO_TEXT,), "translation_text"),
    "summarization": Task((TEXT_TO_TEXT,), "summary_text"),
    "question-answering": Task(LAYOUTS, "answer", ("question", "context", "prompt_template")),
    "text-classification": Task(LAYOUTS, "label", ("candidate_labels", "top_k", "batch_size")),
}
ALIASES = {"sentiment-analysis": "text-classification"}
QUESTION = "question: {question} context: {context}"


def pipeline(task=None, model=None, **defaults):
    """A function from prompts to texts.

    ```python
    generate = pipeline("text-generation", model="runs/quickstart")
    generate("def ", max_new_tokens=60, num_return_sequences=3)
    # [{"generated_text": "def ..."}, {"generated_text": ...}, {"generated_text": ...}]
    ```

    Args:
      task: one of `TASKS`, "sentiment-analysis", or "translation_en_to_de" for translation
        whatever the languages; None for what the model was trained to do.
      model: folder of an export, or a model_dir that holds one.
      **defaults: of the options of `Pipeline.__call__`.

    Raises:
      FileNotFoundError: there is no export at `model`.
      ValueError: an unknown task or option, or a model trained for another task.
    """
    if task is not None:
        task = re.sub(r"^translation_\w+_to_\w+$", "translation", ALIASES.get(task, task))
        if task not in TASKS:
            raise ValueError(f"task {task!r} is none of {', '.join(map(repr, TASKS))}")
    return Pipeline(task, model, **defaults)


class Pipeline:
    """What `pipeline` returns.

    Attributes:
      task: one of `TASKS`.
      export: an exported.ExportedModel.
    """

    def __init__(self, task, model, **defaults):
        folder = find_export(model)
        if task is not None:
            check_options(task, defaults)
        with filtered_stderr():
            from trainers.exported import ExportedModel

            self.export = ExportedModel(folder)
        self.task = task or natural_task(self.export.description)
        check_options(self.task, defaults)
        layout = self.export.description.layout
        if layout not in TASKS[self.task].layouts:
            fitting = [name for name in TASKS if TASKS[name].layouts == (layout,)]
            raise ValueError(
                f"{model} was trained for {layout}: its task is "
                f"{' or '.join(map(repr, fitting))}, not {task!r}"
            )
        self.defaults = defaults

    @property
    def talks(self):
        """Whether it takes conversations."""
        said = self.export.description
        written = self.task == "text2text-generation" and said.chat_template
        return bool(self.task == "text-generation" or written)

    def __call__(self, inputs=None, **options):
        """Answers one input or several, in Hugging Face's shapes.

        Args:
          inputs: a string or a list of strings. For text generation, and of models of dialogue,
            also a conversation or a list of them: a list of {"role": "user", "content": str}, rendered by the export's
            chat template; a last message of the assistant is continued. For question answering
            {"question": str, "context": str} or a list of such, or question=, context=.
          **options: in place of the pipeline's defaults; those of
            `generation_options.GenerationOptions`, and
            return_full_text: of text generation; False for what was generated, alone.
            prompt_template: of question answering, see `QUESTION`.
            candidate_labels, top_k, batch_size: all the options of classification, see `classify`.

        Returns:
          For one input, a list of `num_return_sequences` dicts {"generated_text": str}
          ("translation_text", "summary_text"). For a list, a list of such lists, or of single
          dicts where the task reads a source text and one sequence is asked for. A conversation's
          "generated_text" is the list of its messages with the assistant's at the end.
          Of a question {"answer": str, "score": float}; a list of them for a list.
          Of classification a list of {"label": str, "score": float}, see `classify`.

        Raises:
          ValueError: an option or an input that cannot be.
        """
        options = self.defaults | options
        check_options(self.task, options)
        if self.task == "question-answering":
            return self.answer(inputs, **options)
        if inputs is None:
            raise ValueError(f"{self.task} needs a text, or a list of them")
        if self.task == "text-classification":
            return self.classify(inputs, **options)
        return self.write(inputs, **options)

    def stream(self, prompt, **options):
        """Yields an answer's text, without the prompt, in pieces as they are drawn.

        Args:
          prompt: a string, or in text generation a conversation.
          **options: see `generation_options.GenerationOptions`.

        Raises:
          ValueError: an option that cannot be, or one that needs the answer to be whole.
        """
        options = self.defaults | options
        options.pop("return_full_text", None)
        prompts, options = self.prompts_of([prompt], options)
        options = self.read(options)
        if options.num_beams > 1 or options.num_return_sequences > 1:
            raise ValueError("a stream is one text as it is drawn: no beams, no further sequences")
        return self.export.stream(prompts[0], options)

    def generate(self, prompts, **options):
        """Yields (index of a prompt, [exported.Generated, ...]) as batches are done.

        Args:
          prompts: list of strings.
          **options: see `generation_options.GenerationOptions`.

        Raises:
          ValueError: an option or a prompt that cannot be.
        """
        return self.export.generate(prompts, self.read(self.defaults | options))

    def read(self, options):
        return generation_options.read(options, sampled=self.task == "text-generation")

    def write(self, inputs, return_full_text=None, **options):
        """Continues texts or conversations, or answers source texts."""
        alone = isinstance(inputs, str) or is_conversation(inputs)
        inputs = [inputs] if alone else list(inputs)
        prompts, options = self.prompts_of(inputs, options)
        texts = in_order(self.export.generate(prompts, self.read(options)), len(prompts))
        full = [
            (self.task == "text-generation" or is_conversation(given))
            and return_full_text in (None, True)
            for given in inputs
        ]
        key = TASKS[self.task].key
        answers = [
            [{key: with_answer(given, one.text) if whole else one.text} for one in row]
            for given, row, whole in zip(inputs, texts, full, strict=True)
        ]
        if alone:
            return answers[0]
        if self.task != "text-generation" and all(len(row) == 1 for row in answers):
            return [row[0] for row in answers]
        return answers

    def prompts_of(self, inputs, options):
        """(prompts, options) of texts or conversations, with what conversations need in options."""
        if not any(map(is_conversation, inputs)):
            return inputs, options
        if not (self.talks and all(map(is_conversation, inputs))):
            raise ValueError(
                "conversations are for text-generation and models of dialogue, and do not stand "
                "beside other texts"
            )
        from trainers.chat import Chat  # needs Jinja, which texts alone do not

        prompts, begun, stop = prompts_of(inputs, Chat.of(self.export.description))
        stop += generation_options.strings("stop", options.get("stop") or ())
        if any(begun):
            options = options | {"answer_prefix": begun}
        return prompts, options | {"stop": stop}

    def answer(self, inputs, question=None, context=None, prompt_template=QUESTION, **options):
        """Answers questions; the score is the probability of the whole answer, its end included."""
        if inputs is None:
            alone = isinstance(question, str)
            inputs = pairs_of(question, context)
        else:
            alone = isinstance(inputs, dict)
            inputs = [inputs] if alone else list(inputs)
        try:
            prompts = [prompt_template.format(**asked) for asked in inputs]
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{prompt_template!r} cannot be filled ({error!r}); an input is a question and a "
                "context"
            ) from None
        options = self.read(options)
        if options.num_return_sequences > 1:
            raise ValueError("question-answering gives one answer: num_return_sequences must be 1")
        found = in_order(self.export.generate(prompts, options), len(prompts))
        answers = [
            {"answer": row[0].text.strip(), "score": math.exp(row[0].log_probability)}
            for row in found
        ]
        return answers[0] if alone else answers

    def classify(self, inputs, candidate_labels=None, batch_size=8, **options):
        """The labels of texts, the likeliest first.

        Args:
          inputs: a string or a list of strings.
          candidate_labels: list of strings, or one with commas between; None for those that the
            model was trained with. They are compared as what the model writes after the text.
          batch_size: pairs of text and label that run at once.
          top_k: how many labels; None for all.

        Returns:
          For a string a list of `top_k` dicts; for a list, a list of such lists, or of single
          dicts where no top_k is given. A score is a label's probability among the labels.

        Raises:
          ValueError: there are no labels, or one that is too long for the model.
        """
        top_k = options.get("top_k", 1)
        if top_k is not None:
            generation_options.check_integer("top_k", top_k, 1)
        generation_options.check_integer("batch_size", batch_size, 1)
        labels = candidate_labels or self.export.description.labels
        if isinstance(labels, str):
            labels = [label.strip() for label in labels.split(",")]
        if not labels:
            raise ValueError("this export names no labels: give candidate_labels=[...]")
        alone = isinstance(inputs, str)
        texts = [inputs] if alone else list(inputs)
        pairs = [(text, label) for text in texts for label in labels]
        scores = self.export.score(*zip(*pairs, strict=True), batch_size) if pairs else []
        answers = []
        for first in range(0, len(pairs), len(labels)):
            scored = zip(labels, shares(scores[first : first + len(labels)]), strict=True)
            ranked = sorted(scored, key=lambda pair: -pair[1])[:top_k]
            answers.append([{"label": label, "score": score} for label, score in ranked])
        if alone:
            return answers[0]
        return answers if "top_k" in options else [row[0] for row in answers]


def find_export(model):
    """The folder of the SavedModel at `model`, an export or a model_dir.

    Raises:
      ValueError: `model` is None.
      FileNotFoundError: there is none.
    """
    if model is None:
        raise ValueError("pipeline needs model=, the folder of an export or a model_dir")
    model = os.path.expanduser(model)
    for folder in (model, os.path.join(model, "export")):
        if os.path.exists(os.path.join(folder, "saved_model.pb")):
            return folder
    if not os.path.isdir(model):
        raise FileNotFoundError(f"{model}: there is no such folder")
    raise FileNotFoundError(
        f"{model}: holds no export; make one with "
        f"python -m trainers.run --mode=export --model_dir={model}"
    )


def natural_task(description):
    """What a model was trained to do."""
    if description.labels:
        return "text-classification"
    return next(name for name in TASKS if description.layout in TASKS[name].layouts)


def check_options(task, options):
    own = TASKS[task].options
    known = own if task == "text-classification" else (*own, *generation_options.NAMES)
    generation_options.check_names(options, known)


def pairs_of(question, context):
    questions, contexts = (
        [text] if isinstance(text, str) else text for text in (question, context)
    )
    if questions is None or contexts is None or len(questions) != len(contexts):
        raise ValueError("question-answering needs as many contexts as questions")
    return [{"question": q, "context": c} for q, c in zip(questions, contexts, strict=True)]


def in_order(found, count):
    """[texts of a prompt, ...] of the pairs that `generate` yields."""
    found = dict(found)
    return [found[i] for i in range(count)]


def shares(log_probabilities):
    """Probabilities that sum to 1."""
    most = max(log_probabilities)
    weights = [math.exp(value - most) for value in log_probabilities]
    return [weight / sum(weights) for weight in weights]
