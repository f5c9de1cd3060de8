"""Preferences as a task: a prompt, an answer that was chosen, and one that was rejected.

Every pair is two examples in a row, the chosen one first: a text-to-text example or, with a chat
template, a conversation of which nothing but its last message is learned.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import gin

from trainers.data.dialogue import (
    Conversations,
    Messages,
    joined,
    known_roles,
    learned_last,
)
from trainers.data.tasks import Task
from trainers.errors import UserError


@gin.configurable
def preferences(
    source,
    prompt: str | None = "prompt",
    chosen: str = "chosen",
    rejected: str = "rejected",
    template: str = "",
    role: str = "role",
    content: str = "content",
    roles: dict | None = None,
    special_tokens: Sequence[str] | None = None,
) -> Task:
    """Prefer the one of two answers that people chose.

    Args:
      source: see sources.py.
      prompt, chosen, rejected: the fields of a record. Of conversations the prompt is a list of
        messages and each answer a list of one; or, where `prompt` is None, both answers are whole
        conversations that differ in their last message.
      template: of the chat, see `dialogue.conversation`; "" where the fields are texts.
      role, content, roles, special_tokens: of conversations; see `dialogue.conversation`.

    Raises:
      UserError: no prompt of texts; roles that are none.
    """
    if template:
        pair = ChatPair(prompt, chosen, rejected, role, content, known_roles(roles, "preferences"))
        return ChatPreferences(
            "conversation", source, "", reader=pair, template=template, listed=special_tokens
        )
    if prompt is None:
        raise UserError(
            "preferences.prompt = None: is for conversations; name the prompt's field, or set "
            "CHAT_TEMPLATE"
        )
    return Preferences("text_to_text", source, "", reader=TextPair(prompt, chosen, rejected))


@dataclasses.dataclass(frozen=True)
class TextPair:
    """A record as (prompt, [chosen, rejected]), all of them texts, by the names of its fields."""

    prompt: str
    chosen: str
    rejected: str

    def __call__(self, record):
        texts = [text_of(record, name) for name in (self.prompt, self.chosen, self.rejected)]
        check_unequal(record, *texts[1:])
        return texts[0], texts[1:]


@dataclasses.dataclass(frozen=True)
class ChatPair:
    """A record as (messages, [chosen message, rejected message]); see `preferences`."""

    prompt: str | None
    chosen: str
    rejected: str
    role: str
    content: str
    roles: tuple

    def __call__(self, record):
        asked = [] if self.prompt is None else self.messages(record, self.prompt)
        sides = [self.messages(record, name) for name in (self.chosen, self.rejected)]
        answers = [side.pop() for side in sides]
        if self.prompt is None:
            asked = sides[0]
            if sides[0] != sides[1]:
                raise UserError(
                    f"{record.where}: {self.chosen} and {self.rejected} differ before their last "
                    "messages; they must be answers to the same"
                )
        elif any(sides):
            raise UserError(
                f"{record.where}: {self.chosen} and {self.rejected} must be one message each; set "
                "PROMPT = None where they are whole conversations"
            )
        if any(answer["role"] != "assistant" for answer in answers):
            raise UserError(
                f"{record.where}: {self.chosen} and {self.rejected} must end with a message of the "
                "assistant"
            )
        check_unequal(record, *(answer["content"].strip() for answer in answers))
        return asked, answers

    def messages(self, record, name):
        if isinstance(record[name], str):
            raise UserError(
                f"{record.where}: {name} is a text, and CHAT_TEMPLATE is for lists of messages; set "
                'CHAT_TEMPLATE = "" where all three are texts, or PROMPT = None where the answers '
                "have the messages before them"
            )
        read = Messages(name, self.role, self.content, self.roles, "preferences")
        return read(record, fill=None)


@dataclasses.dataclass(frozen=True)
class Preferences(Task):
    """Pairs of text-to-text examples. `reader`: function of a record, as `TextPair`."""

    reader: Any = None

    pairs: ClassVar[bool] = True

    def examples(self, split) -> Iterator[dict]:
        for record in self.source.records(split):
            prompt, answers = self.reader(record)
            for answer in answers:
                yield {"inputs": prompt, "targets": answer}

    def fingerprint(self, split):
        return repr((self.kind, self.reader, self.source.fingerprint(split)))


@dataclasses.dataclass(frozen=True)
class ChatPreferences(Conversations):
    """Pairs of conversations; for a model with an encoder, of text-to-text examples."""

    pairs: ClassVar[bool] = True

    def conversations(self, split):
        """(messages, their parts: what is asked, and the answer as the last one) of each side."""
        for record in self.source.records(split):
            asked, answers = self.reader(record)
            for answer in answers:
                messages = [*asked, answer]
                try:
                    given = self.chat.prompt_parts(asked)
                    written = learned_last(self.chat.parts(messages))[len(given) :]
                except ValueError as error:
                    raise UserError(f"{record.where}: {error}") from None
                yield messages, [*((text, False) for text, _ in given), (joined(written), True)]

    def examples(self, split):
        for _, parts in self.conversations(split):
            if self.kind == "conversation":
                yield {"parts": parts}
            else:
                yield {"inputs": joined(parts[:-1]), "targets": parts[-1][0]}


def text_of(record, name):
    """A field that is a text and not empty."""
    text = record[name]
    if isinstance(text, list):
        raise UserError(
            f"{record.where}: {name} is a list of messages; CHAT_TEMPLATE says how they are written"
        )
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{record.where}: {name} must be a text, and not empty")
    return text


def check_unequal(record, chosen, rejected):
    if chosen == rejected:
        raise UserError(
            f"{record.where}: the chosen answer and the rejected one are the same; leave it out"
        )
