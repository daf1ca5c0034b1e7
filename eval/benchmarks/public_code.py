"""HumanEval and MBPP: a function is asked for, and the benchmark's own assertions run on it in the sandbox.

HumanEval is asked zero-shot, MBPP with the three examples of its prompt split (ids 2, 3, 4), as in the evaluation of
GLAN (arXiv 2402.13064, section 3.3). What a program may import and use is what eval/sandbox/child.py allows: a solution
that needs more counts as wrong. lm-eval's own tasks run what the model writes in this process.
"""

import re
import secrets

from eval import sandbox
from eval.benchmarks.public_stated import malformed
from eval.graders.reply import MAX_CHARS
from recipes.base.reply_form import visible

VERSION = 2

HERE = "# the program of the reply"
ASK = "Answer with one Python code block that holds the whole function."
SHOTS = (2, 3, 4)
TESTED = range(11, 511)
# The slowest canonical solution (MBPP 123) takes 4 s of an ordinary processor; a slow or busy machine has its time.
LIMITS = sandbox.Limits(cpu_seconds=30, wall_seconds=60.0, program_chars=100_000)
_FENCED = re.compile(r"```[ \t]*(?:python3?|py)?[ \t]*\r?\n(.*?)(?:```|\Z)", re.S | re.I)


def humaneval_rows(items: list) -> list[dict]:
    """Rows of HumanEval: task_id, prompt (imports, head and docstring), canonical_solution, test, entry_point."""
    return [_humaneval_row(where, item) for where, item in items]


def _humaneval_row(where: str, item: dict) -> dict:
    try:
        head, solution = item["prompt"].rstrip(), f"{item['prompt']}{item['canonical_solution']}"
        asked = f"Complete this function.\n```python\n{head}\n```\n{ASK}"
        check = f"{head}\n    pass\n\n{HERE}\n{item['test']}\ncheck({item['entry_point']})"
    except (KeyError, TypeError) as error:
        raise malformed(where, item, error) from None
    return _row("humaneval", where, asked, check, solution)


def mbpp_rows(items: list) -> list[dict]:
    """Rows of MBPP: task_id, text, code, test_list, test_setup_code; those of its prompt split are the examples."""
    try:
        known = {item["task_id"]: item for _, item in items}
        shown = [f"{_mbpp_question(known[id])}\n```python\n{known[id]['code'].strip()}\n```" for id in SHOTS]
        return [
            _row(
                "mbpp",
                where,
                "\n\n".join([*shown, _mbpp_question(item)]),
                "\n".join([HERE, item.get("test_setup_code") or "", *item["test_list"]]),
                item["code"],
            )
            for where, item in items
            if item["task_id"] in TESTED
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise malformed("mbpp", "an item, or an example of its prompt split", error) from None


def _mbpp_question(item: dict) -> str:
    tests = "\n".join(item["test_list"][:3])
    return f"You are an expert Python programmer. {item['text']} Your code should pass these tests:\n{tests}\n{ASK}"


def _row(benchmark: str, where: str, asked: str, check: str, solution: str) -> dict:
    """`answer` is the program that is run, with HERE for that of the reply: what it may rely on before, tests after."""
    return {
        "id": where,
        "prompt": [{"role": "user", "content": asked}],
        "answer": check,
        "reply": f"```python\n{solution.strip()}\n```",
        "grader": "assertions",
        "kind": benchmark,
    }


def score_code(doc: dict, replies: list[str]) -> dict[str, float]:
    """acc: the program of the reply passes every assertion; parsed: there is a program."""
    program = _program(replies[0][-MAX_CHARS:], set(re.findall(r"\w+", doc["answer"].partition(HERE)[2])))
    if program is None:
        return {"acc": 0.0, "parsed": 0.0}
    done = secrets.token_hex(16)  # a program that prints what it cannot know has come to the end of the assertions
    (printed,) = sandbox.outputs([f"{doc['answer'].replace(HERE, program)}\nprint({done!r})"], LIMITS)
    return {"acc": float(printed is not None and printed.endswith(f"{done}\n")), "parsed": 1.0}


def _program(reply: str, tested: set[str]) -> str | None:
    """The last code block that defines something of what is `tested`, else the last; or a reply that is bare code."""
    text = visible(reply)
    found = [block.replace("\r\n", "\n") for block in _FENCED.findall(text)]
    if found:
        defining = [block for block in found if tested & set(re.findall(r"^\s*(?:def|class)\s+(\w+)", block, re.M))]
        return (defining or found)[-1]
    return text if re.match(r"\s*(?:def|import|from|class|@)\b", text) else None
