"""GSM8K and BBH: questions answered with reasoning and a last "The answer is X.", which is read and compared by rule.

GSM8K is asked zero-shot, BBH with the three worked examples of each of its 27 tasks that lm-eval ships, all in one user
turn: the protocol of GLAN (arXiv 2402.13064, section 3.3).
"""

import re
from functools import cache
from importlib.resources import files

from eval.errors import TaskDataError
from eval.graders.reply import MAX_CHARS
from recipes.base.reply_form import find_answers, visible

VERSION = 2

THINK_NUMBER = 'Think step by step. End with the line "The answer is X.", X being the final number.'
BBH = """boolean_expressions causal_judgement date_understanding disambiguation_qa dyck_languages formal_fallacies
    geometric_shapes hyperbaton logical_deduction_five_objects logical_deduction_seven_objects
    logical_deduction_three_objects movie_recommendation multistep_arithmetic_two navigate object_counting
    penguins_in_a_table reasoning_about_colored_objects ruin_names salient_translation_error_detection snarks
    sports_understanding temporal_sequences tracking_shuffled_objects_five_objects
    tracking_shuffled_objects_seven_objects tracking_shuffled_objects_three_objects web_of_lies word_sorting"""
_SAID = re.compile(r"\banswer\b(?: is)?:?", re.IGNORECASE)
_IS = re.compile(r"(\S+)\s+is\s+(?:the|my)\s+(?:(?:final|correct|right)\s+)?answer\b", re.IGNORECASE)
_NUMBER = re.compile(r"-?\$?-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|-?\.\d+")


def gsm8k_row(benchmark: str, where: str, item: dict) -> dict:
    """A row of GSM8K: question, and an answer whose last line is "#### number"."""
    try:
        question, (working, answer) = item["question"].strip(), item["answer"].split("####")
        answer = answer.strip().replace(",", "")
        float(answer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise malformed(where, item, error) from None
    return {
        "id": where,
        "prompt": [{"role": "user", "content": f"{question}\n{THINK_NUMBER}"}],
        "answer": answer,
        "reply": f"{working.strip()}\nThe answer is {answer}.",
        "grader": "stated number",
        "kind": benchmark,
    }


def bbh_row(benchmark: str, where: str, item: dict) -> dict:
    """A row of BBH: input, target, and under `subtask` the name of its task."""
    try:
        shots, answer = _shots(item["subtask"]), item["target"].strip()
        asked = [f"Q: {shot['input']}\nA: Let's think step by step.\n{shot['target']}" for shot in shots["samples"]]
        content = "\n\n".join([shots["description"], *asked, f"Q: {item['input']}\nA: Let's think step by step."])
    except (KeyError, TypeError, AttributeError, OSError) as error:
        raise malformed(where, item, error) from None
    return {
        "id": where,
        "prompt": [{"role": "user", "content": content}],
        "answer": answer,
        "reply": f"So the answer is {answer}.",
        "grader": "stated text",
        "kind": benchmark,
        "level": item["subtask"],
    }


@cache
def _shots(subtask: str) -> dict:
    """{"description", "samples"} of a task of BBH in lm-eval's own files."""
    import yaml

    if subtask not in BBH.split():
        raise KeyError(subtask)
    text = (files("lm_eval") / "tasks" / "bbh" / "cot_fewshot" / f"{subtask}.yaml").read_text(encoding="utf-8")
    found = yaml.safe_load(text)
    return {"description": found["description"].strip(), "samples": found["fewshot_config"]["samples"]}


def malformed(where, item, error):
    got = f"{type(error).__name__}: {error}; {str(item)[:80]}"
    return TaskDataError("an item of a public benchmark is malformed", where, got, "use the dataset's own columns")


def score_stated(doc: dict, replies: list[str]) -> dict[str, float]:
    """acc and parsed of a reply that ends with what it states as its answer."""
    read = _number_stated if doc["grader"] == "stated number" else _text_stated
    stated, gold = read(replies[0][-MAX_CHARS:]), read(f"The answer is {doc['answer']}.")
    return {"acc": float(stated is not None and stated == gold), "parsed": float(stated is not None)}


def _said(reply: str) -> str | None:
    """What follows the last "the answer is" on its line, or the one answer block; None where there is neither."""
    blocks = set(find_answers(reply))
    if blocks:
        return blocks.pop() if len(blocks) == 1 else None
    said = _SAID.split(re.sub(r"[*`]", "", visible(reply)))
    return said[-1].strip().partition("\n")[0].strip() or None if len(said) > 1 else None


def _number_stated(reply: str) -> float | None:
    """The number in the last "N is the answer" or behind the last "the answer is" (of a calculation its result).

    Where neither holds one, the last number of the reply; None where its answer blocks differ.
    """
    blocks, text = set(find_answers(reply)), re.sub(r"\\[a-z]*|[{}*`]", "", visible(reply))
    if len(blocks) > 1:
        return None
    places = [match.end() for match in _SAID.finditer(text)]
    before = [match[1] for match in _IS.finditer(text) if places and match.end() >= places[-1]]
    behind = re.sub(r"\\[a-z]*|[{}]", "", _said(reply) or "").rpartition("=")[2]
    found = [number for said in ([behind] if blocks else [*before, behind]) for number in _NUMBER.findall(said)[:1]]
    found = found or _NUMBER.findall(text)[-1:]
    return float(re.sub(r"[$,]", "", found[0])) if found else None


def _text_stated(reply: str) -> str | None:
    """The words behind "the answer is", without the full stop, in one case; of an option its letter in brackets."""
    said = " ".join((_said(reply) or "").split()).strip("\"'").removesuffix(".").casefold()
    option = re.match(r"\(?([a-r])\)", said)
    return f"({option[1]})" if option else said or None
