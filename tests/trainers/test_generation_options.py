import subprocess
import sys

import numpy as np
import pytest

from trainers.generation_options import read


def test_text_generation_draws_as_hugging_face_does_and_other_tasks_when_asked():
    assert (read({}, True).temperature, read({}, True).top_k) == (0.7, 50)
    assert read({}, False).temperature == 0
    assert read({"do_sample": False, "temperature": 2.0}, True).temperature == 0
    assert read({"do_sample": np.False_, "temperature": 2.0}, True).temperature == 0
    for asked in ({"min_p": 0.1}, {"top_k": 5}, {"num_return_sequences": 2}, {"do_sample": True}):
        assert read(asked, False).temperature == 1


def test_without_a_seed_each_call_has_another():
    assert read({}, True).seed != read({}, True).seed
    assert read({"seed": 0}, True).seed == 0


def test_stop_may_be_one_string_and_an_empty_one_stops_nothing():
    assert read({"stop": "ab"}, True).stop == ["ab"]
    assert read({"stop": ("ab", "", "c"), "num_beams": 2}, True).stop == ["ab", "c"]
    assert read({"stop": None}, True).stop == read({"stop": ""}, True).stop == []


@pytest.mark.parametrize(
    "given, message",
    [
        ({"temprature": 1}, "no option 'temprature'; did you mean temperature?"),
        ({"top_p": 1.5}, "top_p is 1.5, and must be a number between 0 and 1"),
        ({"min_p": float("nan")}, "must be a number between 0 and 1"),
        ({"temperature": -1}, "between 0 and inf"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0"),
        ({"max_new_tokens": 2.5}, "must be an integer of at least 0"),
        ({"max_new_tokens": None}, "max_new_tokens is None"),
        ({"length_penalty": "long"}, "must be a number between -inf and inf"),
        ({"num_return_sequences": 0}, "must be an integer of at least 1"),
        ({"early_stopping": "soon"}, "must be True, False or 'never'"),
        ({"early_stopping": 1}, "early_stopping is 1"),
        ({"truncation": "no"}, "truncation is 'no', and must be True or False"),
        ({"do_sample": "no"}, "do_sample is 'no', and must be True, False or None"),
        ({"seed": 1.5}, "seed is 1.5, and must be an integer or None"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"stop": 5}, "stop is 5, and must be a string or a list of strings"),
        ({"stop": ["a", 5]}, "stop is ['a', 5]"),
        ({"answer_prefix": 5}, "answer_prefix is 5, and must be a string or a list of strings"),
        ({"answer_prefix": [None]}, "answer_prefix is [None]"),
        ({"num_beams": 2, "temperature": 0.5}, "beam search takes no temperature"),
        ({"num_beams": 2, "frequency_penalty": 1.0}, "beam search takes no frequency_penalty"),
        ({"num_beams": 2, "do_sample": True}, "beam search takes no do_sample"),
        ({"num_beams": 2, "max_new_tokens": 0}, "max_new_tokens of at least 1"),
        ({"num_beams": 2, "num_return_sequences": 3}, "raise num_beams"),
        ({"do_sample": False, "num_return_sequences": 2}, "do_sample=True"),
    ],
)
def test_what_cannot_be_is_a_sentence(given, message):
    with pytest.raises(ValueError) as error:
        read(given, True)
    assert message in str(error.value)


def test_reading_options_imports_no_library():
    code = "import sys; from trainers.generation_options import read; read({}, True); " + (
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
