"""Conversations as prompts of a language model, and answers as their next messages."""


def is_conversation(given):
    """Whether it is a list of messages rather than a text, or a list of either."""
    return isinstance(given, list | tuple) and bool(given) and isinstance(given[0], dict)


def prompts_of(conversations, chat):
    """What to generate from.

    Args:
      conversations: lists of {"role": str, "content": str}; a last message of the assistant is
        one to go on with.
      chat: see chat.Chat.

    Returns:
      prompts, the beginning of each answer, and strings before which answers end; three lists.

    Raises:
      ValueError: a message lacks something, or the template refuses it.
    """
    for message in (message for said in conversations for message in said):
        check(message)
    prompts = [chat.prompt(said[:-1] if is_continued(said) else said) for said in conversations]
    begun = [chat.begun(said) if is_continued(said) else "" for said in conversations]
    return prompts, begun, list(chat.stops)


def with_answer(conversation, text):
    """A prompt or a conversation, and what was generated after it."""
    if isinstance(conversation, str):
        return conversation + text
    if is_continued(conversation):  # the text has what was there, behind what the template writes
        *asked, last = conversation
        text = text[max(text.find(last["content"]), 0) :].rstrip()
        return [*asked, last | {"content": text}]
    return [*conversation, {"role": "assistant", "content": text.strip()}]


def check(message):
    """Raises ValueError unless it is a message."""
    fields = message if isinstance(message, dict) else {}
    if not all(isinstance(fields.get(key), str) for key in ("role", "content")):
        raise ValueError(f"a message needs a role and a content, both strings: {message!r}")


def is_continued(conversation):
    return conversation[-1].get("role") == "assistant"
