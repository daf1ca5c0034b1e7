"""The reply form: what prompts and replies look like, and what is read of a reply that somebody else wrote."""

from dataclasses import replace

import pytest

from recipes.base.options import LETTERS, letter_of, list_options, option_of
from recipes.base.reply_form import (
    FORMS,
    TAGS,
    Exchange,
    Form,
    Parts,
    find_answers,
    holds_mark,
    render_messages,
    render_prompt,
    render_question,
    render_reply,
    split_reply,
    split_request,
    visible,
    without_marks,
)

OPEN = Exchange(question="What flows?", thinking="Charge moves.", solution="So: a current.", answer="a current")
CHOICE = replace(OPEN, options=("heat", "a current"), solution="So the right option is: a current.", answer="B")
BRACKETS = Form("brackets", ("[[", "]]"), ("{", "}"), "Put {what} in braces{among}!")


@pytest.mark.parametrize(
    ("exchange", "prompt"),
    [
        (OPEN, "What flows?\nGive the final answer in <answer> tags."),
        (CHOICE, "What flows?\nA) heat\nB) a current\nGive the right option in <answer> tags."),
        (replace(OPEN, asks_for="the value"), "What flows?\nGive the value in <answer> tags."),
        (replace(OPEN, asks_for=None), "What flows?"),
        (replace(CHOICE, asks_for=None), "What flows?\nA) heat\nB) a current"),
        (replace(OPEN, context="I = 2 mA"), "What flows?\nI = 2 mA\nGive the final answer in <answer> tags."),
        (
            replace(CHOICE, context="I = 2 mA", context_first=True),
            "I = 2 mA\nWhat flows?\nA) heat\nB) a current\nGive the right option in <answer> tags.",
        ),
        (
            replace(OPEN, options=("yes", "no"), options_as="unlisted", answer="yes"),
            "What flows?\nGive the final answer in <answer> tags.",
        ),
        (
            replace(OPEN, options=("AM", "FM"), options_as="names", asks_for="the type", answer="AM"),
            "What flows?\nGive the type in <answer> tags, one or more of: AM, FM.",
        ),
    ],
)
def test_a_prompt_is_question_context_options_and_request(exchange, prompt):
    assert render_prompt(exchange) == prompt
    assert render_messages(exchange)[0] == [{"role": "user", "content": prompt}]
    assert prompt.startswith(render_question(exchange)) and render_question(replace(exchange, asks_for=None)) in prompt


@pytest.mark.parametrize(
    ("exchange", "reply"),
    [
        (OPEN, "<think>Charge moves.</think>\nSo: a current.\n<answer>a current</answer>"),
        (CHOICE, "<think>Charge moves.</think>\nSo the right option is: a current.\n<answer>a current</answer>"),
        (replace(OPEN, thinking=None), "So: a current.\n<answer>a current</answer>"),
        (replace(OPEN, thinking=None, solution=None), "<answer>a current</answer>"),
        (replace(OPEN, thinking=""), "<think></think>\nSo: a current.\n<answer>a current</answer>"),
        (replace(OPEN, answer=""), "<think>Charge moves.</think>\nSo: a current."),
        (
            replace(OPEN, answer="5", program="print(2 + 3)"),
            "<think>Charge moves.</think>\nSo: a current.\n<answer>\nprint(2 + 3)\n</answer>",
        ),
        (replace(OPEN, verbatim="As its author wrote it."), "As its author wrote it."),
    ],
)
def test_a_reply_is_the_parts_that_there_are(exchange, reply):
    assert render_reply(exchange) == reply
    assert render_messages(exchange)[1] == [{"role": "assistant", "content": reply}]


def test_what_is_asked_has_its_context_and_neither_options_nor_request():
    assert replace(CHOICE, context="I = 2 mA").asked == "What flows?\nI = 2 mA"
    assert replace(CHOICE, context="I = 2 mA", context_first=True).asked == "I = 2 mA\nWhat flows?"


@pytest.mark.parametrize("answer", ["C", "b", "a current", "AB"])
def test_an_answer_that_is_no_letter_of_lettered_options_is_an_error(answer):
    with pytest.raises(ValueError, match="2 options"):
        render_reply(replace(CHOICE, answer=answer))


def test_another_form_is_one_more_value():
    exchange = replace(OPEN, options=("AM", "a current"), options_as="names")
    prompt, reply = render_prompt(exchange, BRACKETS), render_reply(exchange, BRACKETS)
    assert prompt == "What flows?\nPut the final answer in braces, one or more of: AM, a current!"
    assert reply == "[[Charge moves.]]\nSo: a current.\n{a current}"
    assert split_reply(reply, BRACKETS) == Parts("Charge moves.", "So: a current.", "a current")
    assert split_reply(reply) is None and find_answers(reply, BRACKETS) == ["a current"] and find_answers(reply) == []
    assert FORMS == {"tags": TAGS}


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "text",
        "<think>t</think> s",
        "s <answer>a</answer>",
        "x <think>t</think> s <answer>a</answer>",
        "<think>t</think> s <answer>a</answer> x",
        "<think>t<think></think> s <answer>a</answer>",
        "<answer>a</answer> s <think>t</think>",
        "<think>t <answer>a</answer></think> s",
        "<think>t</think> s <answer>a</answer> or <answer>b</answer>",
    ],
)
def test_a_reply_of_another_form_has_no_parts(reply):
    assert split_reply(reply) is None


def test_the_parts_of_a_reply_lose_the_white_space_around_them():
    assert split_reply("\n<think> t\n</think>\n\ns \n<answer>\na\n</answer> ") == Parts("t", "s", "a")
    assert split_reply("<think></think><answer></answer>") == Parts("", "", "")


def test_answers_are_read_behind_the_thinking_alone():
    reply = "<think><answer>no</answer></think> so <answer> yes </answer> or <answer>maybe</answer> </answer>"
    assert find_answers(reply) == ["yes", "maybe"] and visible(reply).startswith(" so")
    assert find_answers("<answer>open") == [] == find_answers("closed</answer>") and visible("plain") == "plain"


def test_marks_are_found_in_any_case_and_replaced_as_they_are_written():
    assert without_marks("a<think>b</think>c<answer>d</answer>") == "a b c d "
    assert all(map(holds_mark, ("</THINK>", "x <answer y>", "<think"))) and not any(
        map(holds_mark, ("think", "a < answer", "<thinking>"))
    )


def test_options_are_listed_by_letter_as_far_as_there_are_letters():
    assert list_options(["one", "two"]) == "A) one\nB) two" and list_options([]) == ""
    assert option_of("B", ["one", "two"]) == "two" and letter_of("two", ["one", "two"]) == "B"
    with pytest.raises(ValueError, match="11 options"):
        list_options(["x"] * (len(LETTERS) + 1))
    for wrong in ("C", "", "AB"):
        with pytest.raises(ValueError, match="not the letter"):
            option_of(wrong, ["one", "two"])


def test_a_reply_may_name_an_option_by_its_letter():
    by_letter = replace(CHOICE, answer_as="letter")
    assert render_prompt(by_letter).endswith("B) a current\nGive the letter of the right option in <answer> tags.")
    assert render_reply(by_letter).endswith("<answer>B</answer>")
    assert split_request(render_prompt(by_letter))[0] == split_request(render_prompt(CHOICE))[0]
    assert render_prompt(replace(by_letter, options_as="names")) == render_prompt(replace(CHOICE, options_as="names"))
