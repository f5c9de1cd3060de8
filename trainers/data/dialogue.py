"""Conversations as a task: written by a chat template, learned where the assistant speaks."""

import dataclasses
import datetime
import functools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import gin

from trainers import chat_template
from trainers.chat import EOS_TEXT, Chat
from trainers.data.special_tokens import SEPARATOR
from trainers.data.tasks import Task
from trainers.errors import UserError
from trainers.hugging_face import folder, tokenizer

ROLES = ("system", "user", "assistant")
NAMES_OF_ROLES = {**{role: role for role in ROLES}, "human": "user", "gpt": "assistant"}
TRAINING_DATE = datetime.datetime(2024, 7, 26)  # that of Llama 3's template where it knows none


@gin.configurable
def conversation(
    source,
    template: str = "plain",
    messages: str = "messages",
    role: str = "role",
    content: str = "content",
    roles: dict | None = None,
    special_tokens: Sequence[str] | None = None,
    metrics: Sequence[str] = (),
) -> Task:
    """Answer as the assistant does in conversations; nothing else in them is learned.

    A conversation may begin with any role, the assistant's too where the template can render a
    prompt without messages. What follows its last answer is left out.

    Args:
      source: see sources.py.
      template: of the chat: "plain", "chatml", a file, Jinja as Hugging Face's models have, or the
        folder of such a model or of a run, for the one that it has.
      messages: the field of a record that has the list of messages.
      role, content: fields of a message.
      roles: what the data calls them to "system", "user" and "assistant"; None for these names,
        and "human" and "gpt".
      special_tokens: texts of the template that are a token each; None for those it has of the
        form <|...|>, and of a model's folder also for those of its tokenizer. `eos_token`, where it writes that, is <eos> itself.
      metrics: names of metrics of decoded answers.

    Raises:
      UserError: roles that are none.
    """
    reader = Messages(messages, role, content, known_roles(roles, "conversation"))
    return make(source, reader, template, special_tokens, metrics)


@gin.configurable
def instructions(
    source,
    template: str = "plain",
    system: str = "",
    user: str = "{instruction}\n\n{input}",
    assistant: str = "{output}",
    special_tokens: Sequence[str] | None = None,
    metrics: Sequence[str] = (),
) -> Task:
    """Follow instructions: conversations of one question and its answer.

    Args:
      source: see sources.py.
      system, user, assistant: templates of what each says, as `text_to_text` has them; no system
        message where that is "".
      template, special_tokens, metrics: see `conversation`.
    """
    reader = Exchange(system, user, assistant)
    return make(source, reader, template, special_tokens, metrics)


def known_roles(roles, task):
    """((name, role), ...), where `roles` is None of the usual names.

    Raises:
      UserError: roles that are none.
    """
    roles = roles or NAMES_OF_ROLES
    if not set(roles.values()) <= set(ROLES):
        raise UserError(
            f"{task}.roles = {roles}: what names mean must be one of {', '.join(ROLES)}"
        )
    return tuple(roles.items())


def make(source, reader, template, special_tokens, metrics):
    return Conversations(
        "conversation",
        source,
        targets="",
        metrics=tuple(metrics),
        reader=reader,
        template=template,
        listed=special_tokens,
    )


@dataclasses.dataclass(frozen=True)
class Messages:
    """A record's messages, by the names of its fields; see `conversation`.

    `task` is the name that settings have in what is said about errors.
    """

    messages: str
    role: str
    content: str
    roles: tuple
    task: str = dataclasses.field(default="conversation", repr=False)

    def __call__(self, record, fill):
        roles, given = dict(self.roles), record[self.messages]
        if not isinstance(given, list) or not given:
            raise UserError(f"{record.where}: {self.messages} must be a list of messages")
        found = []
        for i, message in enumerate(given, 1):
            where = f"{record.where}, message {i}"
            if not isinstance(message, dict) or not {self.role, self.content} <= message.keys():
                raise UserError(
                    f"{where}: must have {self.role!r} and {self.content!r}; {self.task}.role "
                    f"and {self.task}.content name them"
                )
            name, text = message[self.role], message[self.content]
            if name not in roles:
                raise UserError(
                    f"{where}: the role {name!r} is none of {', '.join(roles)}; "
                    f"{self.task}.roles says what other names mean"
                )
            if not isinstance(text, str) or not text.strip():
                raise UserError(f"{where}: its {self.content} must be a text, and not empty")
            found.append({"role": roles[name], "content": text})
        return found


@dataclasses.dataclass(frozen=True)
class Exchange:
    """A record as one question and its answer; see `instructions`."""

    system: str
    user: str
    assistant: str

    def __call__(self, record, fill):
        found = []
        for role in ROLES:
            template = getattr(self, role)
            if role == "system" and not template:
                continue
            text = fill(template, record).strip()
            if not text:
                raise UserError(f"{record.where}: instructions.{role} = {template!r} gives nothing")
            found.append({"role": role, "content": text})
        return found


@dataclasses.dataclass(frozen=True)
class Conversations(Task):
    """A task whose examples are conversations, or, for a model with an encoder, their answers.

    Its kind is "conversation": examples are {"parts": [(text, learned), ...]}. `for_model` gives
    one of kind "text_to_text": each answer is an example, with all before it as its inputs.

    A template that writes the date writes `TRAINING_DATE` in them, so that the same seed gives the
    same run on another day; an export writes today's.

    Attributes:
      reader: function of a record, and of `Task.fill`, to messages; its `repr` says all about it.
      template, listed: see `conversation`, where `listed` is special_tokens.
    """

    reader: Any = None
    template: str = "plain"
    listed: Sequence[str] | None = None

    def for_model(self, reads_source):
        kind = "text_to_text" if reads_source else "conversation"
        return dataclasses.replace(self, kind=kind)

    def read_by(self, tokenizer):
        return dataclasses.replace(self, listed=tokenizer.special_tokens)

    @property
    def layout(self):
        return "text_to_text" if self.kind == "text_to_text" else "language_modelling"

    @functools.cached_property
    def chat_template(self):
        if self.template in chat_template.TEMPLATES:
            return chat_template.TEMPLATES[self.template]
        if re.search("{[{%]", self.template):
            return self.template
        path = os.path.expanduser(self.template)
        if os.path.isdir(path):
            found = folder.chat_template(path)
            if not found:
                raise UserError(
                    f"template = {self.template!r}: that model has no chat template; choose one of "
                    + ", ".join(map(repr, chat_template.TEMPLATES))
                )
            return found
        if not os.path.isfile(path):
            raise UserError(
                f"template = {self.template!r}: neither a file, nor a model's folder, nor Jinja, "
                "nor one of " + ", ".join(chat_template.TEMPLATES)
            )
        with open(path, encoding="utf-8") as file:
            return file.read()

    @functools.cached_property
    def special_tokens(self):
        found = self.listed
        if found is None:
            found = re.findall(r"<\|[^<>|\s{}]+\|>", self.chat_template)
            if folder.is_checkpoint(os.path.expanduser(self.template)):
                known = tokenizer.load(os.path.expanduser(self.template)).special_ids
                found += [text for text in known if text in self.chat_template]
        eos = [EOS_TEXT] if re.search(r"\beos_token\b", self.chat_template) else []
        return tuple(dict.fromkeys([*eos, *found]))

    @functools.cached_property
    def chat(self):
        return Chat(self.chat_template, self.special_tokens, SEPARATOR, TRAINING_DATE)

    def conversations(self, split) -> Iterator[tuple]:
        """(messages up to the last of the assistant, their parts up to what is learned last)"""
        for record in self.source.records(split):
            messages = self.reader(record, self.fill)
            while messages and messages[-1]["role"] != "assistant":
                messages.pop()
            if not messages:
                raise UserError(f"{record.where}: the assistant says nothing in it to learn from")
            try:
                yield messages, learned_last(self.chat.parts(messages))
            except ValueError as error:
                raise UserError(f"{record.where}: {error}") from None

    def examples(self, split):
        for messages, parts in self.conversations(split):
            if self.kind == "conversation":
                yield {"parts": parts}
                continue
            for i, message in enumerate(messages):
                if message["role"] == "assistant":
                    asked = self.chat.prompt_parts(messages[:i])
                    answered = learned_last(self.chat.parts(messages[: i + 1]))
                    yield {"inputs": joined(asked), "targets": joined(answered[len(asked) :])}

    def texts(self, split):
        for _, parts in self.conversations(split):
            yield from (text for text, _ in parts)

    def read_answer(self, text):
        text = text.replace(SEPARATOR, "")
        for end in (*self.stops, EOS_TEXT):
            text = text.partition(end)[0]
        return text.strip()

    @property
    def stops(self):
        return self.chat.stops

    def prompt_affixes(self):
        return "", ""

    def fingerprint(self, split):
        parts = [self.kind, self.reader, self.chat, self.source.fingerprint(split)]
        if "strftime_now" in self.chat_template:
            parts.append(TRAINING_DATE)
        return repr(tuple(parts))

    def check(self):
        super().check()
        short = [text for text in self.special_tokens if len(text) < 2 or SEPARATOR in text]
        if short:
            raise UserError(f"special_tokens: {short[0]!r} must have two characters or more")
        talk = [{"role": role, "content": role} for role in ("user", "assistant") * 2]
        try:
            self.chat.parts(talk)
        except ValueError as error:
            raise UserError(f"template = {self.template[:40]!r}: {error}") from None

    def keep(self, directory):
        with open(directory.chat_template, "w", encoding="utf-8", newline="") as file:
            file.write(self.chat_template)

    def kept(self, directory):
        if not os.path.exists(directory.chat_template):
            return self
        with open(directory.chat_template, encoding="utf-8", newline="") as file:
            template = file.read()
        try:
            changed = self.chat_template != template
        except UserError:  # a file that is there no more; the model_dir has what it said
            changed = False
        if changed:
            raise UserError(
                f"{directory.chat_template}: the chat template that was trained with is another "
                f"than template = {self.template[:40]!r}; use that one, or another --model_dir"
            )
        return dataclasses.replace(self, template=template)


def learned_last(parts):
    """Parts without what is given behind the last that is learned."""
    last = max(i for i, (_, learned) in enumerate(parts) if learned)
    return parts[: last + 1]


def joined(parts):
    return SEPARATOR.join(text for text, _ in parts)
