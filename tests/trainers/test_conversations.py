import pytest

from trainers.chat import Chat
from trainers.conversations import is_conversation, prompts_of, with_answer

USER = {"role": "user", "content": "hi"}
BEGUN = {"role": "assistant", "content": "well, "}


def test_a_list_of_messages_is_told_from_texts_and_lists():
    assert is_conversation([USER])
    assert not any(map(is_conversation, ["hi", [], ["hi"], [[USER]]]))


def test_a_last_message_of_the_assistant_is_gone_on_with():
    prompts, begun, stop = prompts_of([[USER], [USER, BEGUN]], Chat())
    assert prompts == ["User: hi\nAssistant:"] * 2
    assert begun == ["", " well, "]
    assert stop == ["\nUser:"]
    assert with_answer([USER, BEGUN], " well, no\n") == [USER, BEGUN | {"content": "well, no"}]


def test_an_answer_becomes_the_next_message_without_the_space_that_the_template_leaves_to_it():
    assert with_answer([USER], " no\n") == [USER, {"role": "assistant", "content": "no"}]
    assert with_answer("hi", " no\n") == "hi no\n"


@pytest.mark.parametrize(
    "message",
    ["y", {}, {"role": "user"}, {"role": "user", "content": None}, {"role": "assistant"}],
)
def test_a_message_that_lacks_something_is_named(message):
    with pytest.raises(ValueError, match="a message needs a role and a content"):
        prompts_of([[USER, message]], Chat())
