"""From a conversation to the prompt of a model, by a Jinja template as Hugging Face's chat models
have. A template comes with a model: it runs in a sandbox and sees nothing but the conversation."""

import datetime
import functools
import json

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

DEFAULT = """\
{% for message in messages if message.role == "system" %}
{{ message.content }}
{% endfor %}
{% for message in messages if message.role != "system" %}
{{ message.role | capitalize }}: {{ message.content }}
{% endfor %}
{% if add_generation_prompt %}
Assistant:
{%- endif %}
"""


def render(messages, template="", add_generation_prompt=True):
    """The prompt of a conversation.

    Args:
      messages: dicts {"role": "system", "user" or "assistant", "content": str}.
      template: Jinja; "" for `DEFAULT`. It sees `messages`, `add_generation_prompt`, and
        `bos_token` and `eos_token`, which are empty: an export puts its own <eos>.
      add_generation_prompt: whether the assistant's turn begins at the end.

    Raises:
      ValueError: the template is not right, or refuses these messages.
    """
    try:
        return compiled(template or DEFAULT).render(
            messages=messages,
            add_generation_prompt=add_generation_prompt,
            bos_token="",
            eos_token="",
        )
    except (TemplateError, TypeError, ArithmeticError, LookupError) as error:
        raise ValueError(f"the chat template cannot render these messages: {error}") from error


def stops(template=""):
    """Strings before which an answer ends, where the model goes on with the user's next turn."""
    return () if template and template != DEFAULT else ("\nUser:",)


@functools.lru_cache
def compiled(template):
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment.from_string(template)


def to_json(value, **options):
    return json.dumps(value, ensure_ascii=False, **options)  # Jinja's own escapes HTML as well


def refuse(message):
    raise TemplateError(message)
