"""The agents of analogseeker with scripted replies: what is asked of whom, and which records are declined and why."""

import asyncio
import json

import pytest

from data_builders.analogseeker.agent_plan import AgentPlanner, bill_of
from data_builders.analogseeker.agents import ANSWER, POST, PROMPTS, QUESTION, Agents, ChoiceQuestion, check_form
from data_builders.analogseeker.protocol import Request, in_order
from data_builders.analogseeker.spec import Spec
from data_builders.core.schema import Node
from data_builders.llm.bill import Lengths
from data_builders.llm.chat import Answer, Raw, Unusable
from data_builders.llm.choices import read_letter
from data_builders.llm.prompts import Prompt, prompt
from data_builders.llm.table import Teacher
from data_builders.sources.facts import STANCES
from recipes.base.errors import RecipeError

TABLE = Teacher(kind="openai", model="small", reasoner="thinker", base_url="http://h/v1")
OPTIONS = ["it halves", "it doubles", "it stays", "it inverts"]
CHOICE = json.dumps({"question": "Q?", "options": OPTIONS})


class Scripted:
    """An asker that gives each agent's reply from a table, and remembers what was asked."""

    model = "small"

    def __init__(self, **replies):
        self.replies, self.asked = replies, []

    async def ask(self, chat):
        self.asked.append(chat)
        reply = self.replies[chat.agent]
        text = reply(chat) if callable(reply) else reply
        try:
            return Answer(chat.key, chat.value(Raw(text)))
        except Unusable as error:
            return Answer(chat.key, None, f"{chat.agent}: {error.kind}, asked 3 times")

    def check_record(self, key, fault, reply):
        pass

    def each(self, items, work, arrived):
        async def everything():
            return [await work(item) for item in items]

        return asyncio.run(everything())


def request(kind="open", draw=0, stance="limits"):
    subject = {"id": "i", "title": "Mirrors", "text": "A mirror copies a current."}
    return Request("node", "family", stance, kind, 0, draw, "sft", subject, None, 0)


def post(answer, question="What does a mirror copy?"):
    return json.dumps({"question": question, "solution": "s", "answer": answer})


def record(kind, question, answer, edited):
    asker = Scripted(question=question, answer=f"<think>t</think>\ns\n<answer>{answer}</answer>", post=edited)
    (reply,) = in_order(Agents(TABLE, asker), [request(kind)], lambda reply: None)
    return reply, asker


def test_three_agents_are_asked_with_the_models_temperatures_and_lengths_of_the_sheet():
    reply, asker = record("open", '{"question": "What does a mirror\\n copy?"}', "a current", post("a current"))
    question, answer, edit = asker.asked
    assert [chat.agent for chat in asker.asked] == ["question", "answer", "post"]
    assert [chat.model for chat in asker.asked] == ["small", "thinker", "small"]
    sampled = [(chat.temperature, chat.max_tokens) for chat in asker.asked]
    assert sampled == [(1.0, 500), (1.0, 10_000), (0.0, 4_000)]
    assert [tuple(part.values()) for part in (QUESTION, ANSWER, POST)] == sampled
    assert "A mirror copies a current." in question.user and "Applications and limits" in question.user
    assert "What does a mirror copy?" in answer.user and "A mirror copies a current." in answer.user
    assert "<answer>a current</answer>" in edit.user and "<think>" not in edit.user
    assert reply.asked == tuple(chat.key for chat in asker.asked)
    assert (reply.question, reply.thinking, reply.solution, reply.answer) == (
        "What does a mirror copy?", "t", "s", "a current",
    )  # fmt: skip


def test_the_five_points_of_view_give_five_different_prompts():
    users = set()
    for stance in STANCES:
        asker = Scripted(question="{}")
        Agents(TABLE, asker).ask([request(stance=stance)])
        users.add(asker.asked[0].user)
    assert len(users) == 5


def test_options_lose_their_letters_and_their_places_follow_from_the_content():
    asked = json.dumps({"question": "What happens?", "options": [f"{x}) {o}" for x, o in zip("ABCD", OPTIONS)]})
    reply, asker = record("mcq", asked, "it doubles", lambda chat: post("it doubles"))
    assert sorted(reply.options) == sorted(OPTIONS) and reply.options["ABCD".index(reply.answer)] == "it doubles"
    assert "A) " + reply.options[0] in asker.asked[1].user
    turned = json.dumps({"question": "What happens?", "options": OPTIONS[::-1]})
    assert record("mcq", turned, "it doubles", post("it doubles"))[0].options == reply.options


@pytest.mark.parametrize(
    ("kind", "question", "answer", "edited", "reason"),
    [
        ("open", "no json", "x", post("x"), "question: invalid JSON, asked 3 times"),
        ("open", '{"question": "Q?"}', "<answer>x", post("x"), "answer: wrong form, asked 3 times"),
        ("open", '{"question": "Q?"}', "x", '{"question": "Q?"}', "post: wrong schema, asked 3 times"),
        ("open", '{"question": "Q?"}', "not stated", post("Not stated."), "answer: not stated in the node"),
        ("mcq", CHOICE, "A", post("B"), "post: changed the answer"),
        ("mcq", CHOICE, "none", post("A"), "answer: names no option"),
        ("mcq", CHOICE.replace('"it halves",', ""), "A", post("A"), "question: wrong schema, asked 3 times"),
    ],
)
def test_a_record_that_cannot_be_made_is_declined_with_its_reason(kind, question, answer, edited, reason):
    reply, _ = record(kind, question, answer, edited)
    assert reply.declined == reason and reply.asked


@pytest.mark.parametrize(
    ("answer", "letter"),
    [("B", "B"), ("(b)", "B"), ("**B**", "B"), ("B) it doubles", "B"), ("it doubles", "B"), ("Option B.", "B")],
)
def test_a_letter_is_read_in_the_forms_that_models_give(answer, letter):
    assert read_letter(answer, OPTIONS) == letter


@pytest.mark.parametrize("answer", ["", "E", "B or C", "B) it halves", "BA", "doubles"])
def test_what_names_no_one_option_is_no_letter(answer):
    assert read_letter(answer, OPTIONS) is None


@pytest.mark.parametrize(
    "text",
    [
        "s <answer>x</answer>",
        "<think>t</think> s",
        "<think>t</think><answer>x</answer>",
        "<think> </think> s <answer>x</answer>",
        "<think>t<think></think> s <answer>x</answer>",
        "<answer>x</answer> s <think>t</think>",
        "<think>t</think> s <answer>x</answer> and more",
    ],
)
def test_a_reply_of_another_form_is_not_taken(text):
    with pytest.raises(Unusable):
        check_form(text)
    assert check_form("<think>t</think> s <answer>x</answer>")


def test_a_reply_whose_think_block_was_opened_by_the_models_own_template_is_a_record():
    asker = Scripted(question='{"question": "Q of it?"}', answer="t\n</think>\ns <answer>x</answer>", post=post("x"))
    (reply,) = in_order(Agents(TABLE, asker), [request()], lambda reply: None)
    assert reply.declined is None and reply.thinking == "t" and "</think>" not in asker.asked[2].user


def nodes(count):
    return [Node(f"n{n}", "b", f"f{n % 3}", "1.1", ("B", f"T{n}"), "text", 40, "b.md") for n in range(count)]


def test_draws_keep_the_shares_of_the_mix_and_turn_through_the_points_of_view():
    spec = Spec(teacher=TABLE.model_dump() | {"draws": 10}, tests={"knowledge": 12, "calculation": 0, "transfer": 6})
    planner = AgentPlanner(nodes(24), spec, 42)
    requests = planner.requests()
    sft = [item for item in requests if item.split == "sft"]
    assert len(planner.held) == 3 and len(sft) == 21 * 10
    assert sum(item.kind == "open" for item in sft) / len(sft) == pytest.approx(0.2 / 0.65, abs=0.03)
    assert {item.stance for item in sft if item.node_id == sft[0].node_id} == set(STANCES)
    assert {item.node_id for item in requests if item.split == "transfer"} == planner.held
    assert len({item.id for item in requests}) == len(requests)
    assert sum(item.split == "knowledge" for item in requests) >= 12


def test_another_seed_deals_the_same_questions_out_to_other_uses():
    spec = Spec(teacher=TABLE.model_dump(), tests={"knowledge": 12, "calculation": 0, "transfer": 6})
    one, two = ({item.id for item in AgentPlanner(nodes(24), spec, seed).requests()} for seed in (1, 2))
    assert len(one & two) > 0.7 * len(one)


def test_prompts_have_versions_and_fill_in_one_pass(tmp_path):
    assert prompt(PROMPTS / "answer.md").id == "answer/1"
    assert Prompt("x", 1, {"user": "{{a}} {{b}}"}).fill("user", a="{{b}}", b="2") == "{{b}} 2"
    (tmp_path / "bad.md").write_text("## user\nno version")
    with pytest.raises(RecipeError, match="wrong form") as error:
        prompt(tmp_path / "bad.md")
    assert "bad.md" in str(error.value)


def test_a_choice_question_has_exactly_four_options():
    with pytest.raises(ValueError, match="options"):
        ChoiceQuestion(question="Q?", options=OPTIONS[:3])


def test_the_bill_pays_the_answers_at_the_price_of_the_reasoner():
    def told(**prices):
        model = Teacher(kind="openai", model="m", base_url="http://h/v1", price_date="2026-11-01", **prices)
        return bill_of([request("mcq"), request()], model, Lengths())

    own = {"reasoner": "r", "reasoner_price_in": 0.0}
    whole = told(price_in=1.0, price_out=1.0)
    rest, answers = (
        told(price_in=1.0, price_out=1.0, reasoner_price_out=1e-9, **own),
        told(**own, reasoner_price_out=1.0),
    )
    assert whole["requests"] == rest["requests"] == answers["requests"] == 6
    assert answers["cost"] == pytest.approx(2 * 1500 / 1e6)
    assert rest["cost"] < whole["cost"] - answers["cost"]
    dear = told(price_in=1.0, price_out=1.0, reasoner="r", reasoner_price_in=1.0, reasoner_price_out=1.0)
    assert dear["cost"] == pytest.approx(whole["cost"])
