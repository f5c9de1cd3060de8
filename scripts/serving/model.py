"""An export as the server knows it: its name, its chats, and what fits into it."""

import dataclasses
import hashlib
import os

import tensorflow as tf

from serving.errors import invalid
from trainers.chat import Chat
from trainers.description import Description
from trainers.exported import check_functions
from trainers.text_stream import UNFINISHED

FUNCTIONS = ("start", "next", "join", "end", "tokenize", "detokenize", "describe")
LAST_MESSAGE = "{{ messages[-1].content }}"  # for models that answer a text, and know no turns


@dataclasses.dataclass
class Model:
    """An export, and what requests to it need to know.

    Args:
      export: the loaded SavedModel.
      description: what it says of itself.
      name: by which requests ask for it.
      chat: how conversations become prompts.
      overhead: tokens read beside a prompt's own: around it, and the <eos> between it and
        an answer.
      fingerprint: equal for equal exports.
      created: time of the export, in seconds since 1970.
    """

    export: object
    description: Description
    name: str
    chat: Chat = dataclasses.field(default_factory=Chat)
    overhead: int = 0
    fingerprint: str = ""
    created: int = 0

    @classmethod
    def of(cls, export, folder="", name=""):
        """Reads an export's description; `name` takes the place of its own.

        Raises:
          ValueError: the export lacks what a server needs.
        """
        check_functions(export, FUNCTIONS, folder)
        said = Description.of(export)
        model = cls(
            export=export,
            description=said,
            name=name or said.name or os.path.basename(os.path.abspath(folder)),
            chat=Chat.of(said),
            **file_facts(folder),
        )
        around = said.prefix + said.suffix
        model.overhead = len(model.tokenize(around)) if around else 0
        if said.layout == "text_to_text":
            model.overhead += 1
            model.chat = Chat.of(said, LAST_MESSAGE)
        return model

    def chat_prompt(self, messages):
        """The text of a conversation.

        Raises:
          ApiError: the template refuses it.
        """
        try:
            return self.chat.prompt(messages)
        except ValueError as error:
            raise invalid(str(error), "messages") from None

    def tokenize(self, text):
        """The list of its tokens."""
        read = self.export.tokenize(texts=tf.constant([text]))
        return read["tokens"].numpy()[0, : read["num_tokens"].numpy()[0]].tolist()

    def detokenize(self, tokens):
        """The text of a list of tokens."""
        if not tokens:
            return ""
        text = self.export.detokenize(tokens=tf.constant([tokens], tf.int32))["text"].numpy()[0]
        return text.decode("utf-8", "replace")

    def room(self, num_tokens):
        """How many tokens an answer to a prompt of so many may have; negative: it does not fit."""
        room = self.description.max_length - self.overhead - num_tokens
        if self.description.reads_source and room >= 0:
            return self.description.max_length
        return room

    def longest_prompt(self, max_tokens):
        """How many tokens of a prompt leave room for an answer, of half the length at the most."""
        if self.description.reads_source:
            return self.description.max_length - self.overhead
        half = (self.description.max_length + 1) // 2
        return max(0, self.room(half if max_tokens is None else min(max_tokens, half)))

    def prepare(self, prompt, max_tokens, truncate=None, field="prompt"):
        """What to start for a prompt.

        Args:
          prompt: text, or a list of tokens.
          max_tokens: the most to draw; None for as many as there is room for.
          truncate: keep so many of the prompt's last tokens, or "left": as many as leave room.
          field: of the request, where the prompt came from.

        Returns:
          (text, its number of tokens, the most tokens to draw)

        Raises:
          ApiError: it does not fit, or has a token that there is not.
        """
        if not isinstance(prompt, str):
            prompt = self.text_of(prompt)
        tokens = self.tokenize(prompt)
        if truncate is not None:
            keep = self.longest_prompt(max_tokens) if truncate == "left" else truncate
            if len(tokens) > keep:
                prompt = self.end_of(prompt, keep)
                tokens = self.tokenize(prompt)
        room = self.room(len(tokens))
        if room < (0 if max_tokens == 0 else 1):
            raise invalid(
                f"the prompt has {len(tokens)} tokens, and this model reads and writes at most "
                f'{self.description.max_length} together; shorten it, or set "truncation": "left"',
                field,
                "context_length_exceeded",
            )
        return prompt, len(tokens), room if max_tokens is None else min(max_tokens, room)

    def end_of(self, prompt, keep):
        """The end of a prompt of about `keep` tokens.

        Its parts are shortened apart, so that what is not a special token becomes none.
        """
        separator = self.description.separator
        parts, kept = prompt.split(separator) if separator else [prompt], []
        parts = [part for part in parts if part]  # without text they cost time and no tokens
        while keep > 0 and parts:
            part = parts.pop()
            tokens = self.tokenize(part)
            if len(tokens) > keep:
                part = self.detokenize(tokens[len(tokens) - keep :]).lstrip(UNFINISHED)
            keep -= len(tokens)
            kept.append(part)
        return separator.join(reversed(kept))

    def text_of(self, tokens):
        try:
            return self.detokenize(tokens)
        except Exception as error:
            # The export knows its vocabulary, and raises whatever a look-up beyond it raises.
            raise invalid("prompt: a token is not in this model's vocabulary", "prompt") from error


def file_facts(folder):
    """When an export was made, and a hash that tells it from others."""
    path = os.path.join(folder, "fingerprint.pb")
    if not folder or not os.path.exists(path):
        return {}
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return {"fingerprint": f"fp_{digest[:12]}", "created": int(os.path.getmtime(path))}
