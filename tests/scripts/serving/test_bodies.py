"""Bodies at random: each is answered, or refused with an error object; none is a failure."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = [
    *("model", "prompt", "messages", "n", "best_of", "stop", "stream", "stream_options", "echo"),
    *("logprobs", "top_logprobs", "max_tokens", "max_completion_tokens", "temperature", "top_p"),
    *("top_k", "min_p", "seed", "presence_penalty", "frequency_penalty", "repetition_penalty"),
    *("truncation", "truncate_prompt_tokens", "suffix", "logit_bias", "response_format", "user"),
    *("tools", "nothing"),
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-1, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["left", "user", "system", "text", "parrot", "\x00", "é", "😀"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "include_usage"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
PROMPTS = st.text(max_size=20) | st.lists(st.integers(1, 256), min_size=1, max_size=9)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system"]), "content": st.text(max_size=9)}
    ),
    min_size=1,
    max_size=3,
)
PLAUSIBLE = {
    "stop": st.lists(st.text(min_size=1, max_size=2), max_size=3),
    "temperature": st.floats(0, 2),
    "n": st.integers(1, 4),
    "stream": st.booleans(),
    "max_tokens": st.integers(1, 20),
}


def bodies(path, always, sometimes):
    """(path, body) that would be right, but for at most two fields that may be anything."""
    return st.builds(
        lambda plausible, wild: (path, {"model": "parrot", **plausible, **wild}),
        st.fixed_dictionaries(always, optional={**PLAUSIBLE, **sometimes}),
        st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=2),
    )


BODIES = bodies(
    "completions",
    {"prompt": PROMPTS},
    {"logprobs": st.integers(0, 5), "echo": st.booleans()},
) | bodies("chat/completions", {"messages": MESSAGES}, {"logprobs": st.booleans()})
BOUNDED = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def check(answer):
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code != 200:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    elif answer.headers["content-type"].startswith("text/event-stream"):
        *events, done, end = answer.text.split("\n\n")
        assert (done, end) == ("data: [DONE]", "")
        assert all("error" not in json.loads(event.removeprefix("data: ")) for event in events)
    else:
        assert all(choice["finish_reason"] for choice in answer.json()["choices"])


@BOUNDED
@given(BODIES)
def test_no_fields_make_the_server_fail(client, body):
    path, fields = body
    content = json.dumps(fields).encode("utf-8", "surrogatepass")
    headers = {"Content-Type": "application/json"}
    check(client.post(f"/v1/{path}", content=content, headers=headers))


@BOUNDED
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode()))
def test_no_bytes_make_the_server_fail(client, content):
    headers = {"Content-Type": "application/json; charset=utf-8"}
    check(client.post("/v1/completions", content=content, headers=headers))
