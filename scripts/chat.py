"""A conversation with an export, in a terminal: python scripts/chat.py --model=runs/mine

Answers come token by token. A model that answers texts (translation, summaries) takes each line by
itself. With a pipe in place of the keyboard, answers alone are written.
"""

import contextlib
import os
import sys

from absl import app, flags

from trainers.pipeline import find_export, pipeline

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "Folder of an export, or a model_dir that holds one.")
flags.DEFINE_integer("max_new_tokens", 256, "Of an answer, at the most.", lower_bound=1)
flags.DEFINE_float("temperature", None, "0 takes the likeliest token.", lower_bound=0.0)
flags.DEFINE_float(
    "top_p",
    None,
    "Draws among the likeliest tokens of this probability together; 1 for all.",
    lower_bound=0.0,
    upper_bound=1.0,
)
flags.DEFINE_string("system", "", "What the model is told before the conversation.")
flags.DEFINE_integer("seed", None, "The same seed and lines give the same answers.")
flags.mark_flag_as_required("model")

HELP = """\
/system TEXT  tells the model TEXT before the conversation; alone, nothing
/reset        begins a new conversation
/help         shows this
/quit         leaves, as Ctrl-D does; Ctrl-C stops an answer"""
# A model may write what would move a terminal's cursor or worse.
UNPRINTABLE = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; the model is given as --model=...")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # nothing between the lines of a talk
    sys.stdin.reconfigure(errors="replace")
    sys.stdout.reconfigure(errors="replace")
    options = {name: FLAGS[name].value for name in ("max_new_tokens", "temperature", "top_p")}
    try:
        find_export(FLAGS.model)
        chat = Chat(pipeline(model=FLAGS.model), FLAGS.system, **options, seed=FLAGS.seed)
        if sys.stdin.isatty():
            say("/help shows what there is beside talking")
        chat.run()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


class Chat:
    """A conversation and the commands that change it.

    Args:
      model: a trainers.pipeline.Pipeline.
      system: text of the system's message; "" for none.
      max_new_tokens: of an answer.
      **options: of generation beside it.
    """

    def __init__(self, model, system="", max_new_tokens=256, **options):
        self.model = model
        self.system = system
        self.options = {"max_new_tokens": max_new_tokens, **options}
        self.talks = model.talks
        self.turns = []  # messages of the user and the assistant
        self.has_dropped = False
        if system and not self.talks:
            self.set_system(system)

    def run(self):
        """Reads lines and answers them until the end of the input, or /quit."""
        commands = {"/system": self.set_system, "/reset": self.reset, "/help": self.help}
        for line in read_lines():
            command, _, rest = line.partition(" ")
            if command == "/quit":
                return
            if command in commands:
                commands[command](rest.strip())
            elif command.startswith("/"):
                say(f"there is no command {command}; see /help")
            elif line.strip():
                self.answer(line)

    def answer(self, line):
        """Writes the answer to a line as it comes; Ctrl-C ends it, and what was said stays said."""
        self.turns.append({"role": "user", "content": line})
        said = ""
        try:
            prompt = self.prompt() if self.talks else line
            for piece in self.model.stream(prompt, **self.options):
                piece = piece if said else piece.lstrip()
                said += piece
                show(piece)
        except KeyboardInterrupt:
            print(flush=True)
        except ValueError as error:
            say(str(error))
        else:
            print(flush=True)
        if said:
            self.turns.append({"role": "assistant", "content": said.rstrip()})
        else:
            self.turns.pop()

    def prompt(self):
        """The conversation, or as much of its end as the model can read."""
        while not self.fits():
            if not self.has_dropped:
                say("the model cannot read all of the conversation: from here on its end alone")
            self.has_dropped = True
            if len(self.turns) == 1:  # of which the export keeps the end
                break
            del self.turns[:2]
        return self.messages()

    def fits(self):
        from trainers.chat import Chat as Written

        text = Written.of(self.model.export.description).prompt(self.messages())
        return self.model.export.fits(text, self.options["max_new_tokens"])

    def messages(self):
        system = [{"role": "system", "content": self.system}] if self.system else []
        return system + self.turns

    def set_system(self, text):
        if self.talks:
            self.system = text
        else:
            say("this model answers each line by itself, and reads no system message")

    def reset(self, _):
        self.turns = []
        self.has_dropped = False

    def help(self, _):
        say(HELP)


def read_lines():
    """Lines as they are typed, with editing and history, or as they come in a pipe."""
    typed = sys.stdin.isatty()
    if typed:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401, which gives input() what it can do
    while True:
        try:
            yield input("> " if typed else "")
        except KeyboardInterrupt:  # gives up the line, not the talk
            if not typed:
                raise
            print()
        except EOFError:
            if typed:
                print()
            return


def show(piece):
    """Writes what the model says."""
    sys.stdout.write(piece.translate(UNPRINTABLE) if sys.stdout.isatty() else piece)
    sys.stdout.flush()


def say(text):
    """What the program says, apart from what the model does."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    app.run(main)
