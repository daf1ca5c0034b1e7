"""EDA: the question said a little otherwise, by synonyms, inserted, swapped and left-out words (arXiv 1901.11196).

The four operations of "Easy Data Augmentation", as used for question answering in arXiv 2204.09598, made safe for
technical text: only the user's own question changes, the answer never. Numbers, units, symbols, names, quoted text,
options and the request for the answer's form stay as they are, letter by letter, and so do words that decide what is
asked (not, more, before …). What is left out are filling words; the paper's own code leaves out any word, and turns
every digit and unit into a blank.
"""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from pydantic import Field

from recipes.artifacts.rows_context import RowsContext
from recipes.base.errors import RecipeError
from recipes.base.reply_form import render_prompt, split_request
from recipes.base.rows import read_exchange
from recipes.config.schema import WORLD, Names
from recipes.config.slots import Method

VERSION = 1
PAPER = "arXiv 1901.11196"
OPERATIONS = ("synonym", "insert", "swap", "delete")
SYNONYMS = {
    "answer": ["reply", "response"],
    "approximately": ["about", "roughly"],
    "big": ["large"],
    "calculate": ["compute", "determine", "work out"],
    "cause": ["lead to", "bring about"],
    "causes": ["leads to", "brings about"],
    "choose": ["pick", "select"],
    "compute": ["calculate", "determine"],
    "describe": ["explain", "outline"],
    "determine": ["find", "work out"],
    "explain": ["describe", "make clear"],
    "find": ["determine", "work out"],
    "give": ["state", "provide"],
    "gives": ["provides", "yields"],
    "happens": ["occurs", "takes place"],
    "help": ["aid", "assist"],
    "helps": ["aids", "assists"],
    "large": ["big", "great"],
    "mainly": ["mostly", "chiefly"],
    "makes": ["renders"],
    "name": ["state", "give"],
    "needed": ["required", "necessary"],
    "needs": ["requires"],
    "purpose": ["aim", "goal"],
    "quickly": ["rapidly", "fast"],
    "reason": ["cause", "ground"],
    "show": ["present", "display"],
    "shows": ["presents", "displays"],
    "small": ["little"],
    "state": ["give", "name"],
    "usually": ["normally", "commonly"],
    "used": ["employed", "applied"],
    "uses": ["employs", "applies"],
}
FILLING_TEXT = "the just simply please then also very quite really"
UNIT_TEXT = "ohms volt volts amps ampere amperes watt watts hertz farad farads henry hour hours second seconds"
DECIDING_TEXT = """
no not nor never none without except unless only all any some each every both neither either more most less least fewer
greater higher lower larger smaller than before after above below over under between from into through down left right
first last increase increases decrease decreases rise rises fall falls same different when while with that this does
have will would should must which what where whose much many
"""
FILLING = frozenset(FILLING_TEXT.split())
FIXED = frozenset(DECIDING_TEXT.split()) | frozenset(UNIT_TEXT.split())
SHORTEST = 4  # letters of a word that may change; shorter ones are often symbols (gm, rms, sin)
QUOTED = re.compile(r"\"[^\"\n]*\"|'[^'\n]{2,}'|`[^`\n]*`|“[^”\n]*”|‘[^’\n]*’|\$[^$\n]*\$|<[^>\n]*>")
WORD = re.compile(r"(?<![\w.^/*=+-])[a-z]{3,}(?![\w^/*=+(-])")  # beside a digit, sign or capital: of a symbol


class Config(Method):
    """How many new rows a row gives, and how much of a question changes."""

    copies: int = Field(1, ge=1, le=16, description="new rows of each row; one that comes out unchanged is left out")
    alpha: float = Field(
        0.1, gt=0, le=1, description="share of a question's words that an operation changes, one word at least"
    )
    synonyms: str = Field(
        "own",
        pattern=r"^(own|[./~].*)$",
        description='"own", a small table of general words, or a JSON file {word: [words]}',
    )
    skip: Names = Field((WORLD,), description="kinds of rows that are left alone, because their wording is the task")

    @property
    def files(self) -> dict[str, Path]:
        """Files from outside that decide the result."""
        return {} if self.synonyms == "own" else {"synonyms": Path(self.synonyms).expanduser()}


def count_rows(own: Config, rows: int) -> int:
    """Rows after it, of so many before, at most."""
    return rows * (1 + own.copies)


def augment(rows: list[dict[str, Any]], own: Config, context: RowsContext) -> list[dict[str, Any]]:
    """New rows with another wording of the question, an id of their own, and the row that they were made from."""
    synonyms, made, unchanged = read_synonyms(own), [], 0
    for row in rows:
        if row.get("kind") in own.skip or not row.get("prompt"):
            continue
        exchange, prompt = read_exchange(row), row["prompt"][-1]["content"]
        seen = {prompt}
        for number in range(own.copies):
            rng = Random(f"{context.seed}/{row['id']}/{number}")
            operation = OPERATIONS[(rng.randrange(len(OPERATIONS)) + number) % len(OPERATIONS)]
            changed: dict[str, Any] = {}
            if exchange is None:
                text = reword(prompt, operation, own.alpha, synonyms, rng)
            else:
                changed["question"] = reword(exchange.question, operation, own.alpha, synonyms, rng)
                text = render_prompt(replace(exchange, **changed))
            if text in seen:
                unchanged += 1
                continue
            seen.add(text)
            turns = [*row["prompt"][:-1], row["prompt"][-1] | {"content": text}]
            lineage = row.get("lineage", {}) | {"augmented_from": row["id"], "operation": operation, "copy": number}
            made.append(row | changed | {"id": f"{row['id']}-eda{number}", "prompt": turns, "lineage": lineage})
    context.note["eda"] = {"made": len(made), "unchanged": unchanged}
    return made


def read_synonyms(own: Config) -> dict[str, list[str]]:
    """{word: words that may stand for it}.

    Raises:
        RecipeError: the file is not there or is no such table.
    """
    if own.synonyms == "own":
        return SYNONYMS
    file = own.files["synonyms"]
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
        good = isinstance(table, dict) and all(isinstance(words, list) and words for words in table.values())
    except (OSError, ValueError) as error:
        raise RecipeError("the synonyms cannot be read", where=file, got=error, allowed="{word: [words]}") from None
    if not good:
        raise RecipeError(
            "the file is no table of synonyms", where=file, got=str(table)[:80], allowed="{word: [words]}"
        )
    return table


def reword(text: str, operation: str, alpha: float, synonyms: dict[str, list[str]], rng: Random) -> str:
    """A question, or a user turn with one, reworded by one operation; as it was where no word may change."""
    question, rest = split_request(text)
    places = find_words(question)
    free = [span for span in places if question[slice(*span)] not in FILLING]
    count = max(1, int(alpha * len(places)))
    edits: dict[tuple[int, int], str] = {}
    if operation in ("synonym", "insert"):
        known = [span for span in free if question[slice(*span)] in synonyms]
        for span in rng.sample(known, min(count, len(known))):
            word = question[slice(*span)]
            other = rng.choice(synonyms[word])
            place = span if operation == "synonym" else rng.choice(free)
            edits[place] = other if operation == "synonym" else f"{other} {question[slice(*place)]}"
    elif operation == "swap":
        pairs = [pair for pair in pairwise(free) if question[pair[0][1] : pair[1][0]] == " "]
        for first, second in rng.sample(pairs, min(count, len(pairs))):
            if first not in edits and second not in edits:
                edits[first], edits[second] = question[slice(*second)], question[slice(*first)]
    else:
        filling = [
            span for span in places if question[slice(*span)] in FILLING and question[span[1] : span[1] + 1] == " "
        ]
        for start, stop in rng.sample(filling, min(count, len(filling))):
            edits[start, stop + 1] = ""
    for (start, stop), word in sorted(edits.items(), reverse=True):
        question = question[:start] + word + question[stop:]
    return question + rest


def find_words(question: str) -> list[tuple[int, int]]:
    """Places of the words that may change: plain lower-case ones outside quotations, not behind a number (a unit)."""
    quoted = [match.span() for match in QUOTED.finditer(question)]
    return [
        match.span()
        for match in WORD.finditer(question)
        if not any(begin <= match.start() < end for begin, end in quoted)
        and not re.search(r"\d\s*$", question[: match.start()])
        and match[0] not in FIXED
        and (match[0] in FILLING or len(match[0]) >= SHORTEST)
    ]
