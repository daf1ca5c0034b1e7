"""Forms in which servers send a reply: the record is taken where the answer is there, else dropped by its reason."""

import json
import re
import sqlite3

import pytest

from data_builders.analogseeker.agents import Agents
from data_builders.analogseeker.protocol import Request, in_order
from data_builders.core.judge import Item, Judge, judge_items, read_rubric
from data_builders.glan import agents as glan
from data_builders.glan import sampling
from data_builders.glan.outline import Lesson, Syllabus
from data_builders.glan.spec import Spec
from data_builders.llm import endpoint, store
from data_builders.llm.asking import open_teacher
from data_builders.llm.chat import Unusable
from data_builders.llm.replies import Message, read_message
from data_builders.llm.store import Store
from data_builders.scilitllm import synthesis
from data_builders.sources.repair import Repair, repaired
from recipes.base.places import ROOT
from recipes.base.reply_form import Exchange
from tests.helpers.reply_forms import LOST, TAKEN, THOUGHT, completion
from tests.helpers.served import Bar, ask, chat, served, table
from tests.helpers.teacher_server import Server, answer

RUBRIC = ROOT / "data_builders" / "analogseeker" / "rubric.toml"
NODE = {"id": "i", "title": "Mirrors", "text": "A mirror copies the current of its input to its output at a set ratio."}
COURSE = Syllabus("y", "s", "Optics", "Light", "1", "", (Lesson(0, "Rays", "", ("ray", "lens")),))
WRITTEN = {"question": "Is light bent by a lens?", "reasoning": "A lens bends it.", "answer": "true"}
WRITTEN |= {"text": "Light is bent by a lens of glass."}


def says(payload):
    """What the model says to the agents of all builders."""
    turns = {turn["role"]: turn["content"] for turn in payload["messages"][:2]}
    system, user = turns.get("system", ""), turns["user"]
    if "examination questions" in system:
        concept = re.search(r"Key concepts: (\w+)", user.rpartition("</syllabus>")[2])[1]
        return json.dumps({"question": "Which?", "options": ["a b", "c d", "e f", "g h"], "concept": concept})
    if not system:
        return "It follows.\n<answer>B</answer>"
    return json.dumps(WRITTEN) if "scientific language models" in system else answer(payload)


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".replies.sqlite"


def teacher(url, **changes):
    return table(url, **{"timeout": 20.0, "patience": 60.0} | changes)


def ask_builders(url, path):
    """{agent's builder: (what it made of the replies, the reason where it is nothing)}"""
    asker = open_teacher(teacher(url), path, lambda text: None)
    subject = Request("n", "f", "limits", "open", 0, 0, "sft", NODE, None, 0)
    (record,) = in_order(Agents(teacher(url), asker), [subject], lambda reply: None)
    sample = sampling.draw(COURSE, "seen", 0, Spec(single=1.0), 1)
    job = synthesis.Job("T_F", "science", "sft", ("lens",), 0)

    async def written(sample):
        return await glan.write_pair(asker, sample, COURSE, "")

    (pair,) = asker.each([sample], written)
    (synthetic,) = asker.each([synthesis.chat(job, "m")], asker.ask)
    asker.close()
    judge = Judge.model_validate(teacher(url).model_dump() | {"cut": 1.0})
    item = Item(id="1", shown="Q?", reply="R", exchange=Exchange(question="Q?"))
    (verdict,), _ = judge_items(judge, read_rubric(RUBRIC), [item], path, Bar.open, lambda text: None)
    repair = Repair.model_validate(teacher(url).model_dump())
    (document,), _ = repaired(repair, [("d", NODE["text"])], path, Bar.open, lambda text: None)
    parts = (record.question, record.thinking, record.solution, record.answer)
    return {
        "analogseeker": (parts, record.declined),
        "glan": (
            pair.pair and (pair.pair.instruction, pair.pair.response.rpartition("</think>")[2].strip()),
            pair.dropped,
        ),
        "scilitllm": (synthetic.value, synthetic.dropped),
        "judge": (verdict.scores, verdict.dropped),
        "repair": (document.chunks[0].status, document.chunks[0].reason or None),
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What the builders make of plain replies."""
    with served(Server(says=says)) as url:
        made = ask_builders(url, tmp_path_factory.mktemp("plain") / "r.sqlite")
    assert not any(reason for _, reason in made.values()) and made["analogseeker"][0][1] != THOUGHT
    return made


@pytest.mark.parametrize("form", TAKEN)
def test_the_record_is_taken_where_the_answer_is_there(form, path, plain):
    server = Server(says=says, forms=(form,))
    with served(server) as url:
        made = ask_builders(url, path)
        ask_builders(url, path)
    assert {name: made[name] for name in made if made[name] != plain[name]} == {}
    assert {line["what"] for line in server.lines} == {"answered"} and server.done == 8 == count(path)


@pytest.mark.parametrize("form", LOST)
def test_a_reply_without_the_answer_is_dropped_by_its_reason_and_kept(form, path):
    server, (_, in_json, in_tags) = Server(says=says, forms=(form,)), LOST[form]
    with served(server) as url:
        made = ask_builders(url, path)
        assert server.done == 15 == count(path), "three attempts for each of five first questions, all paid for"
        assert ask_builders(url, path) == made and server.done == 15
    for name, kind in [("analogseeker", in_json), ("glan", in_json), ("scilitllm", in_json), ("judge", in_json)]:
        assert f": {kind}, asked 3 times" in made[name][1], name
    assert f": {in_tags}, asked 3 times" in made["repair"][1]


def count(path):
    with sqlite3.connect(path) as db:
        return db.execute("SELECT count(*) FROM replies").fetchone()[0]


@pytest.mark.parametrize("form", [form for form in LOST if form != "prose"])
def test_no_form_of_loss_counts_as_an_endpoint_that_is_down(form, path):
    with served(Server(says=says, forms=(form,))) as url:
        answers, asker = ask(url, path, [chat(n) for n in range(6)], patience=0.01)
    assert all(answer.dropped for answer in answers) and not {"unreadable body", "probe"} & asker.counts.keys()


@pytest.mark.parametrize("form", ["reasoning_content alone", "thinking part of a list", "tool call", "decoded"])
def test_a_better_reader_takes_what_an_older_one_dropped_without_asking(form, path, monkeypatch):
    def older(body):
        content = body["choices"][0]["message"]["content"]
        return Message(content if isinstance(content, str) else "", "", "stop", False)

    questions = [chat(n) for n in range(5)]
    with monkeypatch.context() as patched:
        patched.setattr(endpoint, "read_message", older)
        patched.setattr(store, "read_message", older)
        with served(Server(forms=(form,))) as url:
            dropped, _ = ask(url, path, questions)
    assert {answer.dropped for answer in dropped} == {"text: empty, asked 3 times"}
    answers, asker = ask("http://127.0.0.1:9/v1", path, questions)
    assert all(answer.value.text.startswith("reply ") for answer in answers)
    assert asker.counts == {"stored": 5} and count(path) == 15


def test_the_reasoning_is_used_as_thinking_only_where_a_builder_says_so():
    say = "It follows.\n<answer>B</answer>"
    question = glan.Question("q", "s", "Why?", (), "", "m", 1.0, 0.95, "k")
    raw = endpoint_read(completion(say, reasoning_content="Native."))
    assert glan.answer_chat(question, 0, "m").value(raw) == f"<think>Native.</think>\n{say}"
    assert chat(1, None).value(raw) == say
    both = endpoint_read(completion(f"<think>Asked for.</think>\n{say}", reasoning_content="Native."))
    assert glan.answer_chat(question, 0, "m").value(both) == f"<think>Asked for.</think>\n{say}"


def endpoint_read(body):
    message = read_message(body)
    return store.Raw(message.content, message.finish, thinking=message.thinking)


def test_reasoning_that_speaks_of_the_answer_tags_does_not_cost_the_answer():
    question = glan.Question("q", "s", "Why?", ("a", "b", "c", "d"), "x", "m", 1.0, 0.95, "k")
    raw = endpoint_read(completion("So B.\n<answer>B</answer>", reasoning_content="I write <answer>A</answer>? No."))
    assert glan.answer_chat(question, 0, "m").value(raw).count("<answer>") == 1


@pytest.mark.parametrize("mark", ["<think>", "</think>", "<think></think>", "&lt;think&gt;", "<|channel|>", "[THINK]"])
def test_a_reply_of_marks_alone_is_read_to_its_end_and_is_not_usable(mark):
    with pytest.raises(Unusable):
        chat(1).value(store.Raw(mark * 200_000))


def test_tags_inside_the_strings_of_a_json_reply_are_no_reasoning():
    text = "Close it with </think> and go on."
    assert chat(1).value(store.Raw(json.dumps({"text": text}))).text == text


def test_plain_replies_are_stored_once_and_others_with_their_json(path):
    with served(Server()) as url:
        ask(url, path, [chat(1)])
    with served(Server(forms=("reasoning_content",))) as url:
        ask(url, path, [chat(2)])
    with sqlite3.connect(path) as db:
        bodies = dict(db.execute("SELECT key, body FROM bodies").fetchall())
    assert (
        list(bodies) == [chat(2).key]
        and THOUGHT in json.loads(bodies[chat(2).key])["choices"][0]["message"]["reasoning_content"]
    )
    raw = Store(path).get(chat(2).key)
    assert raw.thinking == THOUGHT and THOUGHT not in raw.content


def test_a_failure_told_in_a_body_is_repeated_and_no_reply(path):
    server, whole = Server(), Server.completion
    failures = [{"error": {"code": 502, "message": "no provider"}}, {"choices": [{"error": {"code": 429}}]}]
    server.completion = lambda payload, fault: failures.pop() if failures else whole(server, payload, fault)
    with served(server) as url:
        (answer,), asker = ask(url, path, [chat(1)])
    assert answer.value and asker.counts == {"asked": 1, "error in the body": 2} and count(path) == 1
