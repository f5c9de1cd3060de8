import pytest

from trainers.chat_template import render, render_spans

TALK = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "{{ 7 * 7 }} <b>?"},
]


def test_the_default_has_a_line_a_turn_and_the_systems_first():
    assert render(TALK) == (
        "Be brief.\nUser: Hi\nAssistant: Hello.\nUser: {{ 7 * 7 }} <b>?\nAssistant:"
    )


def test_a_conversation_can_be_rendered_without_the_next_turn():
    assert render(TALK[:2], add_generation_prompt=False) == "User: Hi\nAssistant: Hello.\n"


def test_a_template_of_a_chat_model_renders_as_in_hugging_faces_library():
    template = (
        "{{ bos_token }}{% for message in messages %}\n"
        "    {% if loop.index0 == 9 %}{% break %}{% endif %}\n"
        "{{ '<|' + message['role'] + '|>' + message['content'] | trim }}\n"
        "{% endfor %}\n"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    expected = "<|user|>Hi\n<|assistant|>Hello.\n<|assistant|>"
    assert render(TALK[:2], template) == expected


@pytest.mark.parametrize(
    "template, words",
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% for %}", "chat template"),
        ("{{ messages[0].name }}", "no attribute 'name'"),
        ("{{ messages[99].content.text }}", "chat template"),
        ("{{ ''.__class__.__mro__ }}", "chat template"),
        ("{{ messages.append(1) }}", "chat template"),
        ("{{ range(1000000000) | list }}", "chat template"),
    ],
)
def test_a_template_that_is_wrong_or_reaches_out_of_its_sandbox_is_refused(template, words):
    with pytest.raises(ValueError, match=words):
        render(TALK, template)


def test_the_generation_tag_marks_what_the_assistant_says_and_no_letters_forge_it():
    template = (
        "{% for m in messages %}\n[{{ m.role }}]"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}.{% endgeneration %}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    talk = [
        {"role": "user", "content": "\ufdd1a\ufdd2"},
        {"role": "assistant", "content": "b\ufdd1c"},
    ]
    text, spans = render_spans(talk, template)
    assert text == "[user]a[assistant]bc."
    assert [text[begin:end] for begin, end in spans] == ["bc."]


def test_what_is_missing_may_be_asked_for():
    template = "{% if tools %}tools{% endif %}{{ messages[0].name | default('nobody') }}"
    assert render(TALK, template) == "nobody"
