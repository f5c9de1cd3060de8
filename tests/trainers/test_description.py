import tensorflow as tf

from tests.trainers.tiny import BytesTokenizer, family
from trainers.description import Description
from trainers.text_model import TextModel


class Export:
    """Says what it is told to."""

    def __init__(self, **said):
        self.said = {name: tf.convert_to_tensor(value) for name, value in said.items()}

    def describe(self):
        return self.said


def test_an_export_tells_the_settings_it_was_made_with():
    model, layout = family("encoder_decoder")
    settings = {
        "name": "translator",
        "prefix": "é: ",
        "suffix": ".",
        "chat_template": "{{ messages }}",
        "labels": ("good", "bad"),
    }
    described = Description.of(TextModel(model, BytesTokenizer(), layout, 64, **settings))
    assert described == Description(layout, 64, reads_source=True, **settings)
    assert type(described.max_length) is int and type(described.reads_source) is bool


def test_what_an_older_export_does_not_tell_has_its_default():
    described = Description.of(Export(layout="text_to_text", max_length=12))
    assert described == Description("text_to_text", 12)


def test_what_a_newer_export_tells_beside_is_left_alone():
    described = Description.of(Export(layout="text_to_text", max_length=12, colour="blue"))
    assert described == Description("text_to_text", 12)
