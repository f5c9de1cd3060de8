"""What an export says of itself, as Python's values."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Description:
    """The settings of a `text_model.TextModel` that its export tells.

    Those with a default are not told by every older export.

    Args:
      layout, max_length, name, prefix, suffix, chat_template, labels: see `TextModel`.
      special_tokens, separator: of its tokenizer, see chat.Chat.
      reads_source: whether a prompt has a row of its own, and an answer another.
    """

    layout: str
    max_length: int
    name: str = ""
    reads_source: bool = False
    prefix: str = ""
    suffix: str = ""
    chat_template: str = ""
    labels: tuple = ()
    special_tokens: tuple = ()
    separator: str = ""

    @classmethod
    def of(cls, export):
        """Asks a loaded SavedModel."""
        said = export.describe()
        fields = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: plain(said[name].numpy()) for name in fields if name in said})


def plain(value):
    """bytes as a string, an array of them as a tuple of strings, a number as Python's."""
    if isinstance(value, bytes):
        return value.decode()
    return tuple(map(plain, value)) if value.ndim else value.item()
