"""A chat: a template and the tokenizer's special tokens, which conversations become text by.

Training, `pipeline`, scripts/chat.py and scripts/serve.py all ask here, so that a model meets the
text that it was trained on, cut into the same parts.
"""

import dataclasses
import datetime
import functools
import re

from trainers import chat_template

EOS_TEXT = "<eos>"  # what templates get as `eos_token`, where they ask for one


@dataclasses.dataclass(frozen=True)
class Chat:
    """How conversations are written.

    Args:
      template: see `chat_template.render`.
      special_tokens: texts that are one token each, where the template writes them. In what
        people say the same letters are letters.
      separator: character at which the tokenizer divides a text and which it drops; "" for a
        tokenizer that knows of none, and then of no special tokens either.
      now: the datetime that a template may write; None for the clock's.
    """

    template: str = ""
    special_tokens: tuple = ()
    separator: str = ""
    now: datetime.datetime | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def of(cls, description, template=""):
        """That of an export; `template` where it has none of its own."""
        template = description.chat_template or template
        return cls(template, description.special_tokens, description.separator)

    def parts(self, messages):
        """A conversation as [(text, learned)]: what is given, and what the assistant says.

        Learned is what a template writes for a turn of the assistant behind the prompt that asks
        for it; of that, with {% generation %} tags, what stands in them.

        Raises:
          ValueError: the template cannot render them, or writes a turn otherwise in the prompt
            that asks for it than in the conversation that goes on.
        """
        messages = self.cleaned(messages)
        return self.divided(messages, self.render(messages, add_generation_prompt=False)[0])

    def prompt(self, messages):
        """The text that a model answers, with a separator between its parts.

        Raises:
          ValueError: the template cannot render the messages.
        """
        messages = self.cleaned(messages)
        whole = self.render(messages)[0]
        if not self.separator:
            return whole
        parts = self.divided(messages, whole, strict=False)
        return self.separator.join(text for text, _ in parts)

    def prompt_parts(self, messages):
        """The parts of a prompt, which those of the conversation with its answer begin with.

        Raises:
          ValueError: see `parts`.
        """
        messages = self.cleaned(messages)
        return self.divided(messages, self.render(messages)[0])

    def begun(self, messages):
        """The beginning of an answer, whose text so far is the last message."""
        *asked, last = messages
        asked, said = self.cleaned(asked), self.literal(last["content"])
        text = self.render([*asked, {**last, "content": said}], add_generation_prompt=False)[0]
        prompt = self.render(asked)[0]
        if not text.startswith(prompt):  # which the template writes otherwise than an answer
            return said
        turn = text[len(prompt) :]
        found = turn.find(said)
        return turn[: found + len(said)] if found >= 0 else said

    @functools.cached_property
    def stops(self):
        """Strings before which an answer ends: the end of a turn, or where the user's begins."""
        first, answer, second = "first question", "the answer", "second question"
        talk = self.cleaned(
            [
                {"role": "user", "content": first},
                {"role": "assistant", "content": answer},
                {"role": "user", "content": second},
            ]
        )
        try:
            asked, answered, asked_again = (
                self.render(talk[:1])[0],
                self.render(talk[:2], False)[0],
                self.render(talk, False)[0],
            )
        except ValueError:  # a template that wants more: a stop is the caller's matter
            return ()
        if not answered.startswith(asked) or not asked_again.startswith(answered):
            return ()
        _, found, end = answered[len(asked) :].partition(answer)
        if not found or EOS_TEXT in end:
            return ()
        next_turn = end + asked_again[len(answered) :].partition(second)[0]
        stop = end.strip() or next_turn.rstrip()
        return (stop,) if stop.strip() else ()

    def divided(self, messages, whole, strict=True):
        """[(text, learned)] of the text that begins with all turns of the assistant.

        Unless `strict`, the rest is one part from the first turn on that has no place there.
        """
        parts, at = [], 0
        try:
            for begin, spans in self.turns(messages, whole):
                parts.append((whole[at:begin], False))
                at = begin
                for a, b in spans:
                    parts += [(whole[at:a], False), (whole[a:b], True)]
                    at = b
        except ValueError:
            if strict:
                raise
        parts.append((whole[at:], False))
        return [(text, learned) for text, learned in parts if text]

    def turns(self, messages, whole):
        """Yields where the prompt of each turn of the assistant ends, and what is learned then."""
        by_tag, at = chat_template.has_generation_tag(self.template), 0
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            asked = self.render(messages[:i])[0]
            answered, spans = self.render(messages[: i + 1], add_generation_prompt=False)
            if not (len(asked) >= at and answered.startswith(asked) and whole.startswith(answered)):
                raise ValueError(
                    f"the chat template writes message {i + 1} otherwise in the prompt that asks "
                    "for it than in the conversation that goes on: what is learned would not be "
                    "what is asked"
                )
            begin = len(asked)
            spans = [(max(a, begin), b) for a, b in spans if b > begin]
            if not by_tag:
                spans = [(begin, len(answered))]
            elif not spans:
                raise ValueError(
                    f"the chat template has no {{% generation %}} tag around message {i + 1}"
                )
            yield begin, spans
            at = spans[-1][1]

    def render(self, messages, add_generation_prompt=True):
        """(text, spans) of cleaned messages, see `chat_template.render_spans`."""
        return chat_template.render_spans(
            messages,
            self.template,
            add_generation_prompt,
            eos_token=EOS_TEXT if EOS_TEXT in self.special_tokens else "",
            now=self.now,
        )

    def cleaned(self, messages):
        """Messages whose words are words: no special tokens, and no space around an answer."""
        cleaned = []
        for message in messages:
            message = {
                key: self.literal(value) if isinstance(value, str) else value
                for key, value in message.items()
            }
            if message["role"] == "assistant":
                message["content"] = message["content"].strip()
            cleaned.append(message)
        return cleaned

    def literal(self, text):
        """A text in which letters that spell a special token are read as letters."""
        if not self.separator:
            return text
        text = text.replace(self.separator, "")
        apart = self.separator.join
        for special in [re.escape(s) for s in sorted(self.special_tokens, key=len, reverse=True)]:
            text = re.sub(special, lambda found: apart(["", *found[0], ""]), text)
        return text
