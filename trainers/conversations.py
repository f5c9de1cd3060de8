"""Conversations as prompts of a language model, and answers as their next messages."""


def is_conversation(given):
    """Whether it is a list of messages rather than a text, or a list of either."""
    return isinstance(given, list | tuple) and bool(given) and isinstance(given[0], dict)


def prompts_of(conversations, template=""):
    """What to generate from.

    Args:
      conversations: lists of {"role": str, "content": str}; a last message of the assistant is
        one to go on with.
      template: see `chat_template.render`.

    Returns:
      prompts, the beginning of each answer, and strings before which answers end; three lists.

    Raises:
      ValueError: a message lacks something, or the template refuses it.
    """
    from trainers import chat_template  # needs Jinja, which texts alone do not

    for conversation in conversations:
        for message in conversation:
            if not all(isinstance(message.get(key), str) for key in ("role", "content")):
                raise ValueError(f"a message needs a role and a content, both strings: {message}")
    prompts = [
        chat_template.render(said[:-1] if is_continued(said) else said, template)
        for said in conversations
    ]
    begun = [said[-1]["content"] if is_continued(said) else "" for said in conversations]
    return prompts, begun, list(chat_template.stops(template))


def with_answer(conversation, text):
    """A prompt or a conversation, and what was generated after it."""
    if isinstance(conversation, str):
        return conversation + text
    if is_continued(conversation):  # the text begins with what was there
        return [*conversation[:-1], conversation[-1] | {"content": text}]
    return [*conversation, {"role": "assistant", "content": text.strip()}]


def is_continued(conversation):
    return conversation[-1]["role"] == "assistant"
