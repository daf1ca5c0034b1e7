"""Public benchmarks that are answered in free text: ARC, MMLU by group, MATH, GSM8K, BBH, HumanEval, MBPP.

lm-eval's own ARC and MMLU tasks compare the likelihood of options or cut the reply at its first line; these let the
model reason and read its answer by rule, as the evaluation of GLAN does (arXiv 2402.13064, section 3.3). Its own MATH
task reads what stands between the first and the last dollar sign; this one reads the last \\boxed{}.

The metadata key `benchmarks` names a folder with NAME.jsonl in the columns of the hub dataset; without it the dataset
is fetched. NAME is a key of HUB; a row of bbh says under `subtask` of which of its tasks it is, and mbpp.jsonl is the
authors' own file, all splits in one. GSM8K and BBH are in public_stated.py, HumanEval and MBPP in public_code.py.
"""

from pathlib import Path

from eval.benchmarks.public_code import humaneval_rows, mbpp_rows
from eval.benchmarks.public_stated import BBH, bbh_row, gsm8k_row, malformed
from eval.errors import NoTestRows
from eval.hooks import as_dataset, json_lines, spread
from recipes.base.options import LETTERS, list_options

VERSION = 1

THINK = 'Think step by step. End with the line "The answer is X.", X being the letter of the right option.'
BOXED = "Think step by step. End with the final answer in \\boxed{}."
CODE = {"humaneval": humaneval_rows, "mbpp": mbpp_rows}
HUB = {
    "arc_easy": ("allenai/ai2_arc", ("ARC-Easy",)),
    "arc_challenge": ("allenai/ai2_arc", ("ARC-Challenge",)),
    "mmlu": ("cais/mmlu", ("all",)),
    "math": (
        "EleutherAI/hendrycks_math",
        (
            "algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra",
            "precalculus",
        ),
    ),
    "gsm8k": ("openai/gsm8k", ("main",)),
    "bbh": ("SaylorTwift/bbh", tuple(BBH.split())),
    "humaneval": ("openai/openai_humaneval", ("openai_humaneval",)),
    "mbpp": ("google-research-datasets/mbpp", ("full",)),
}  # fmt: skip
SPLITS = {"mbpp": "prompt+test"}  # others: test
# MMLU's subjects by group, as lm-eval groups them.
GROUPS = {
    "stem": """abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science
        college_mathematics college_physics computer_security conceptual_physics electrical_engineering
        elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science
        high_school_mathematics high_school_physics high_school_statistics machine_learning""",
    "humanities": """formal_logic high_school_european_history high_school_us_history high_school_world_history
        international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory
        professional_law world_religions""",
    "social_sciences": """econometrics high_school_geography high_school_government_and_politics
        high_school_macroeconomics high_school_microeconomics high_school_psychology human_sexuality
        professional_psychology public_relations security_studies sociology us_foreign_policy""",
    "other": """business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing
        medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology""",
}


def load_public(*, benchmark: str, group: str | None = None, sample: int | None = None, benchmarks=None, **_) -> dict:
    """{"test": Dataset} of a benchmark's test split; `group` is one of GROUPS for MMLU, `sample` an even choice.

    Raises TaskDataError for items that are not of the benchmark's form, NoTestRows where a group has none.
    """
    items = list(_items(benchmark, benchmarks))
    if group:
        items = [(where, item) for where, item in items if item.get("subject") in GROUPS[group].split()]
    if not items:
        raise NoTestRows(
            f"no item of {benchmark} {group or ''}".strip(), benchmarks or HUB[benchmark][0], 0, "check it"
        )
    if benchmark in CODE:
        rows = CODE[benchmark](items)
    else:
        read = {"math": _boxed_row, "gsm8k": gsm8k_row, "bbh": bbh_row}.get(benchmark, _choice_row)
        rows = [read(benchmark, where, item) for where, item in items]
    return {"test": as_dataset(spread(rows, sample))}


def _items(benchmark, folder):
    """(where, item) of the test split."""
    if folder:
        yield from json_lines(Path(folder) / f"{benchmark}.jsonl")
        return
    from datasets import load_dataset

    name, configurations = HUB[benchmark]
    for configuration in configurations:
        for number, item in enumerate(load_dataset(name, configuration, split=SPLITS.get(benchmark, "test"))):
            yield f"{name}, {configuration}, item {number}", {"subtask": configuration} | dict(item)


def _choice_row(benchmark: str, where: str, item: dict) -> dict:
    """A row of ARC (choices with text and label, answerKey) or MMLU (choices, answer as a place from 0)."""
    try:
        if benchmark == "mmlu":
            options, place = list(item["choices"]), int(item["answer"])
        else:
            options, place = list(item["choices"]["text"]), list(item["choices"]["label"]).index(item["answerKey"])
        answer, listed = LETTERS[: len(options)][place], list_options(options)
        question = item["question"].strip()
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise malformed(where, item, error) from None
    return {
        "id": where,
        "prompt": [{"role": "user", "content": f"{question}\n{listed}\n{THINK}"}],
        "answer": answer,
        "reply": f"The answer is {answer}.",
        "options": options,
        "grader": "choice",
        "kind": benchmark,
        "level": item.get("subject") or "",
    }


def _boxed_row(benchmark: str, where: str, item: dict) -> dict:
    """A row of MATH: problem, and a solution whose last \\boxed{} holds the answer."""
    from lm_eval.tasks.hendrycks_math.utils import last_boxed_only_string, remove_boxed

    try:
        answer, question = remove_boxed(last_boxed_only_string(item["solution"])), item["problem"].strip()
    except (KeyError, TypeError, AssertionError, AttributeError) as error:
        raise malformed(where, item, error) from None
    return {
        "id": where,
        "prompt": [{"role": "user", "content": f"{question}\n{BOXED}"}],
        "answer": answer,
        "reply": item["solution"],
        "grader": "boxed",
        "kind": benchmark,
        "level": item.get("level") or "",
    }


def score_boxed(doc: dict, replies: list[str]) -> dict[str, float]:
    """acc and parsed of a reply that ends with \\boxed{}, compared as lm-eval's MATH task compares."""
    from lm_eval.tasks.hendrycks_math.utils import is_equiv, last_boxed_only_string, remove_boxed

    try:
        stated = remove_boxed(last_boxed_only_string(replies[0]))
    except (AssertionError, TypeError):  # none, or one that is not closed
        stated = None
    return {"acc": float(stated is not None and is_equiv(stated, doc["answer"])), "parsed": float(stated is not None)}
