"""Exports under EleutherAI's lm-evaluation-harness: see scripts/evaluate.py --harness."""

import contextlib
import itertools
import json
import os
import sys

from absl import flags
from lm_eval import simple_evaluate
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window, make_table
from output import whole_file

from trainers import conversations, generation_options
from trainers.chat import Chat
from trainers.pipeline import find_export
from trainers.startup import import_tensorflow

EOS = 0
LONGEST_ANSWER = 256  # tokens, where a task does not say

FLAGS = flags.FLAGS


class ExportLM(TemplateLM):
    """An exported model for the harness.

    Texts of a language model are read as the harness has Transformers read them: prompt and
    continuation are tokenized together, behind one <eos>, and long texts in windows of all that
    the model reads. In the layout text_to_text the prompt is the input, and the continuation is
    scored with the <eos> that ends it; such tasks want `target_delimiter: ""`.

    Args:
      export: an exported.ExportedModel.
      name: that results give it.
      batch_size: texts that run at once.
    """

    def __init__(self, export, name, batch_size=8):
        super().__init__()
        self.export = export
        self.name = name
        self.batch_size = batch_size
        self.chat = Chat.of(export.description)
        self.stops = ()
        self.max_length = export.description.max_length
        self.answers = export.description.layout == "text_to_text"

    @property
    def eot_token_id(self):
        return EOS

    @property
    def tokenizer_name(self):
        return self.name.replace(os.sep, "__")

    def chat_template(self, chat_template=False):
        if not chat_template:
            return None
        if not self.chat.template:
            raise ValueError(f"{self.name}: this export has no chat template")
        return self.chat.template

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        """The prompt of a conversation; its last message is continued where it is the assistant's."""
        (prompt,), (begun,), self.stops = conversations.prompts_of([chat_history], self.chat)
        return prompt + begun

    def tok_encode(self, string, add_special_tokens=None, **kwargs):
        read = self.export.functions.tokenize(texts=[string])
        return read["tokens"].numpy()[0].tolist()

    def loglikelihood(self, requests, disable_tqdm=False):
        if not self.answers:
            return super().loglikelihood(requests, disable_tqdm)
        inputs, continuations = zip(*(request.args for request in requests), strict=True)
        found = self.export.judge(inputs, continuations, self.batch_size)
        return self.remembered("loglikelihood", requests, found)

    def _loglikelihood_tokens(self, requests, disable_tqdm=False, **kwargs):
        """Of ((context, continuation), their tokens, apart); long contexts lose their beginning."""
        pairs = [(self.behind_eos(context), answer) for _, context, answer in requests]
        long = [text for (text, _, answer) in requests if len(answer) > self.max_length]
        if long:
            raise ValueError(
                f"a continuation has more than the {self.max_length} tokens that {self.name} "
                f"reads: {long[0][1][:60]!r}..."
            )
        found = self.export.judge_tokens(pairs, self.batch_size)
        for (texts, _, _), judged in zip(requests, found, strict=True):
            self.cache_hook.add_partial("loglikelihood", texts, judged)
        return found

    def behind_eos(self, context):
        return context if context[:1] == [EOS] else [EOS, *context]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        if self.answers:
            raise ValueError(
                f"{self.name} answers inputs: tasks of whole texts' likelihood are for models "
                "of the layout language_modelling"
            )
        windows = [
            [
                make_disjoint_window(window)
                for window in get_rolling_token_windows(tokens, EOS, self.max_length, 1)
            ]
            for tokens in (self.tok_encode(*request.args) for request in requests)
        ]
        found = iter(self.export.judge_tokens(list(itertools.chain(*windows)), self.batch_size))
        sums = [sum(value for value, _ in itertools.islice(found, len(row))) for row in windows]
        return self.remembered("loglikelihood_rolling", requests, sums)

    def generate_until(self, requests, disable_tqdm=False):
        texts = [""] * len(requests)

        def settings(place):
            return json.dumps(requests[place].args[1], sort_keys=True)

        for _, places in itertools.groupby(sorted(range(len(requests)), key=settings), settings):
            places = list(places)
            options = self.options(requests[places[0]].args[1])
            prompts = [requests[place].args[0] for place in places]
            for i, (best, *_) in self.export.generate(prompts, options):
                texts[places[i]] = best.text
        return self.remembered("generate_until", requests, texts)

    def options(self, given):
        """generation_options.GenerationOptions of a task's `generation_kwargs`."""
        given = {"until": [], "max_gen_toks": LONGEST_ANSWER, **given}
        stop = [*generation_options.strings("until", given.pop("until")), *self.stops]
        length = min(given.pop("max_gen_toks"), self.max_length)
        if not given.get("do_sample") and not given.get("temperature"):
            given = {k: v for k, v in given.items() if k not in generation_options.SAMPLING}
            given.pop("do_sample", None)
        own = {"stop": stop, "max_new_tokens": length, "batch_size": self.batch_size}
        return generation_options.read(given | own, sampled=False)

    def remembered(self, kind, requests, results):
        for request, result in zip(requests, results, strict=True):
            self.cache_hook.add_partial(kind, request.args, result)
        return results


def define_flags():
    """Those of the command: not at import, for another script's flags may have these names."""
    flags.DEFINE_string("model", None, "Folder of an export, or a model_dir that holds one.")
    flags.DEFINE_list("tasks", None, "Names of the harness' tasks, or paths of YAML files.")
    flags.DEFINE_string("include_path", None, "Folder with YAML files of further tasks.")
    flags.DEFINE_integer("num_fewshot", None, "Examples in a prompt; by default as a task says.")
    flags.DEFINE_float(
        "limit", None, "Of the first examples of each task; below 1 a share of them."
    )
    flags.DEFINE_integer("batch_size", 8, "Texts that run at once.", lower_bound=1)
    flags.DEFINE_boolean("apply_chat_template", False, "Prompts as conversations.")
    flags.DEFINE_string("system_instruction", None, "Of those conversations.")
    flags.DEFINE_string("output", None, "File for all results and answers, as JSON.")


def main(argv):
    if len(argv) > 1 or not (FLAGS.model and FLAGS.tasks):
        sys.exit("scripts/evaluate.py --harness needs --model=FOLDER and --tasks=NAME[,NAME...]")
    try:
        with whole_file(FLAGS.output) if FLAGS.output else contextlib.nullcontext() as file:
            found = evaluate()
            print(make_table(found))
            if file:
                json.dump(found, file, ensure_ascii=False, indent=2, default=str)
    except (ValueError, OSError) as error:
        sys.exit(str(error))


def evaluate():
    """What the harness finds, by the flags of the command."""
    import_tensorflow()
    from trainers.exported import ExportedModel

    folder = find_export(FLAGS.model)
    manager = TaskManager(include_path=FLAGS.include_path)
    check_tasks(FLAGS.tasks, manager)
    return simple_evaluate(
        ExportLM(ExportedModel(folder), FLAGS.model, FLAGS.batch_size),
        tasks=FLAGS.tasks,
        task_manager=manager,
        num_fewshot=FLAGS.num_fewshot,
        limit=FLAGS.limit,
        apply_chat_template=FLAGS.apply_chat_template,
        system_instruction=FLAGS.system_instruction,
    )


def check_tasks(names, manager):
    """Raises ValueError for what is neither a file nor the name of a task, group or tag."""
    for name in names:
        if not os.path.isfile(name) and not manager.match_tasks([name]):
            hint = "; give its folder by --include_path" if not FLAGS.include_path else ""
            raise ValueError(f"there is no task {name!r}{hint}")
