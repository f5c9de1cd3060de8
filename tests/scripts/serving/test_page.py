"""The page, in a browser, over a server in a thread."""

import pytest
from serving.api import Limits

from tests.scripts.browser import PROGRAM, browser
from tests.scripts.serving.threads import served

pytestmark = pytest.mark.skipif(not PROGRAM, reason="needs Chromium")

OUTPUT = "document.getElementById('output').textContent"
STATUS = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def server():
    with served(Limits(api_keys=("secret",))) as server:
        yield server


@pytest.fixture(scope="module")
def address(server):
    return server[0]


@pytest.fixture(scope="module")
def engine(server):
    return server[1]


@pytest.fixture(scope="module")
def page(address, tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(autouse=True)
def opened(page, address):
    page.events.clear()
    page.ask("Page.navigate", url=address)
    page.wait_for(f"document.readyState === 'complete' && {STATUS}.includes('key')")
    page.run("document.getElementById('key').value = 'secret'")


def fill(page, **values):
    for name, value in values.items():
        page.run(f"document.getElementById({name!r}).value = {value!r}")
        page.run(f"document.getElementById({name!r}).dispatchEvent(new Event('change'))")


def click(page, name):
    page.run(f"document.getElementById({name!r}).click()")


def test_a_prompt_is_continued(page, address):
    fill(page, prompt="<b>é</b> ", temperature="0", max_tokens="20")
    click(page, "go")
    page.wait_for(f"{STATUS}.startsWith('20 tokens')")
    assert page.run(OUTPUT) == "<b>é</b> " + "<b>é</b> <b>é</b> "
    assert page.run("document.getElementById('model').textContent") == "parrot"
    assert all(url.startswith((address, "data:")) for url in page.requested())
    wrong = [each for each in page.complaints() if "401" not in str(each)]
    assert not wrong


def test_an_answer_is_seen_as_it_comes_and_can_be_stopped(page, engine):
    fill(page, prompt="slow ", temperature="0", max_tokens="50")
    click(page, "go")
    page.wait_for(f"{OUTPUT}.length > 8")
    click(page, "stop")
    page.wait_for(f"{STATUS} === 'stopped'")
    assert len(page.run(OUTPUT)) < 40
    page.run("new Promise(done => setTimeout(done, 300))")
    assert not engine.running.keys


def test_a_chat_remembers_its_turns(page, engine):
    fill(page, mode="chat", temperature="0", max_tokens="7")
    for content in ("a", "b"):
        fill(page, prompt=content)
        click(page, "go")
        page.wait_for(f"{STATUS}.startsWith('7 tokens')")
        page.run("document.getElementById('status').textContent = ''")
    said = "User: a\nAssistant: User: a\nUser: b\nAssistant:"
    assert engine.export.starts[-1]["prompts"] == [said]


def test_an_error_is_shown(page):
    fill(page, prompt="a", temperature="0", max_tokens="5", key="wrong")
    click(page, "go")
    page.wait_for(f"{STATUS}.includes('wants a key')")
    fill(page, prompt="a" * 99, key="secret")
    click(page, "go")
    page.wait_for(f"{STATUS}.includes('99 tokens')")
