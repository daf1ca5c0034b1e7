"""A sheet on which a person who knows the field judges rows of a data artefact, and what the answers say.

The sheet is one HTML file that needs nothing else. It lies beside the data artefact: `data-1a2b3c4d` is reviewed in
`review-1a2b3c4d/`, as `sheet.html` and, once they were handed in, `answers.json`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.base.errors import RecipeError
from recipes.base.reply_form import Parts, render_question, split_reply
from recipes.base.rows import read_exchange
from recipes.report import stats
from recipes.report.formats import percent, span
from recipes.report.jsonfiles import read_json, read_rows
from recipes.report.render import render

ITEMS = 40
FORMAT = 1
ANSWERS = "answers.json"
VERDICTS = ("right", "wrong", "unclear")
FILES = ("sft.jsonl", "rl.jsonl", "test.jsonl")
PLACE = re.compile(r"(\d+)-(\d+)$")


@dataclass(frozen=True)
class Item:
    """One row as the sheet shows it. `before`, `source`, `after` are the node's text, cut where the row came from."""

    id: str
    file: str
    kind: str
    question: str
    thinking: str
    solution: str
    answer: str
    place: str
    before: str
    source: str
    after: str


@dataclass(frozen=True)
class Review:
    """What the answers of a sheet say of the teacher.

    `error` is the share of wrong rows among those judged right or wrong, `interval` its 95 % Wilson interval.
    `agreement` is the probability that the judge scored a right row above a wrong one (ties count half; 0.5 is
    chance); None where no judge's scores are in the rows, or the rows are all right or all wrong. `remarks` are (row
    id, verdict, comment).
    """

    items: int
    right: int
    wrong: int
    unclear: int
    error: float
    interval: stats.Interval
    agreement: float | None
    judged: int
    reviewer: str
    remarks: list[tuple[str, str, str]]

    @property
    def sentence(self) -> str:
        """Such as: Teacher error 2 of 40, 5.0 %, 1.4–16.5."""
        decided = self.right + self.wrong
        if not decided:
            return f"Teacher error unknown: {self.items} rows were looked at, none was judged right or wrong."
        text = f"Teacher error {self.wrong} of {decided}, {percent(self.error)} %, {span(self.interval)}"
        text += f"; {self.unclear} unclear" if self.unclear else ""
        if self.agreement is not None:
            text += f"; judge and expert order {percent(self.agreement)} % of right and wrong rows alike"
        return text + "."


def folder_of(data: Path) -> Path:
    """Where the review of a data artefact lies."""
    return data.with_name(data.name.replace("data-", "review-", 1))


def draw(data: Path, count: int, seed: int) -> list[Item]:
    """`count` rows, or all: every file and kind in proportion to its rows and at least once, the same for a seed.

    Rows of one file and kind are drawn from different nodes as far as there are such.
    """
    groups: dict[tuple[str, str], list[dict]] = defaultdict(list)
    known = set()
    for name in FILES:
        for row in read_rows(data / name):
            if row["id"] in known:
                continue
            known.add(row["id"])
            groups[name, str(row.get("kind", ""))].append(row)
    if not groups:
        raise RecipeError(
            "the data artefact holds no rows to review", where=data, allowed=", ".join(FILES), fix="build it again"
        )
    nodes = {node["node_id"]: node for node in read_rows(data / "nodes.jsonl")}
    chosen = []
    for group, size in _shares({group: len(rows) for group, rows in groups.items()}, count).items():
        rows = sorted(groups[group], key=lambda row: _order(seed, row["id"]))
        turn, seen = [], Counter()
        for row in rows:  # the first of every node before the second of any
            turn.append((seen[row.get("node_id")], len(turn), row))
            seen[row.get("node_id")] += 1
        chosen += [_item(group[0], row, nodes) for _, _, row in sorted(turn, key=lambda entry: entry[:2])[:size]]
    return sorted(chosen, key=lambda item: _order(seed, f"shown {item.id}"))


def write_sheet(data: Path, count: int, seed: int, title: str) -> Path:
    """Write the sheet of a data artefact; its path. Answers that are there already stay."""
    items = draw(data, count, seed)
    out = folder_of(data)
    out.mkdir(parents=True, exist_ok=True)
    head = {"format": FORMAT, "data": data.name, "seed": seed, "items": [item.id for item in items]}
    part = out / "sheet.html.part"
    part.write_text(render("review.html.jinja", title=title, head=head, items=items), encoding="utf-8")
    part.replace(out / "sheet.html")
    return out / "sheet.html"


def hand_in(file: Path, data: Path) -> Review:
    """Check the answers that a person saved from the sheet, keep them beside the data artefact, and read them."""
    found = read(file, data)
    out = folder_of(data)
    out.mkdir(parents=True, exist_ok=True)
    part = out / f"{ANSWERS}.part"
    part.write_text(json.dumps(read_json(file), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(out / ANSWERS)
    return found


def kept(data: Path | None) -> Review | None:
    """The review that was handed in for a data artefact, or None."""
    if data is None:
        return None
    file = folder_of(data) / ANSWERS
    return read(file, data) if file.is_file() else None


def read(file: Path, data: Path) -> Review:
    """What a file of answers says. Raises RecipeError for one of another form, or of another data artefact."""
    raw = read_json(file)
    answers: Any = raw.get("answers")
    wrong_form = not isinstance(answers, dict) or raw.get("format") != FORMAT
    bad = [] if wrong_form else [key for key, answer in answers.items() if _verdict(answer) not in (*VERDICTS, "")]
    if wrong_form or bad:
        raise RecipeError(
            "this is no file of answers from a review sheet",
            where=file,
            got=f"verdict of {bad[0]}: {answers[bad[0]]!r}" if bad else f"format {raw.get('format')!r}",
            allowed=f'format {FORMAT}, and "answers" with {", ".join(VERDICTS)}',
            fix="save the answers again with the sheet's button",
        )
    rows = {row["id"]: row for name in FILES for row in read_rows(data / name)}
    foreign = [key for key in answers if key not in rows]
    if raw.get("data") != data.name or foreign:
        raise RecipeError(
            "these answers are about another data artefact",
            where=file,
            got=f"{raw.get('data')}" + (f", row {foreign[0]} is not in {data.name}" if foreign else ""),
            allowed=data.name,
            fix="name the artefact with --data, or review the new rows",
        )
    verdicts = {key: _verdict(answer) for key, answer in answers.items() if _verdict(answer)}
    counts = Counter(verdicts.values())
    decided = counts["right"] + counts["wrong"]
    scores = {key: _judge(rows[key]) for key in verdicts}
    pairs = [(scores[key], verdicts[key] == "right") for key in verdicts if verdicts[key] != "unclear"]
    pairs = [(score, right) for score, right in pairs if score is not None]
    return Review(
        items=len(verdicts),
        right=counts["right"],
        wrong=counts["wrong"],
        unclear=counts["unclear"],
        error=counts["wrong"] / decided if decided else 0.0,
        interval=stats.wilson(counts["wrong"], decided),
        agreement=_ordered_alike(pairs),
        judged=len(pairs),
        reviewer=str(raw.get("reviewer", "")),
        remarks=[
            (key, _verdict(answer), str(answer.get("comment", "")).strip())
            for key, answer in answers.items()
            if str(answer.get("comment", "")).strip() or _verdict(answer) == "wrong"
        ],
    )


def _verdict(answer: Any) -> str:
    return str(answer.get("verdict") or "") if isinstance(answer, dict) else "?"


def _judge(row: dict[str, Any]) -> float | None:
    """The judge's score of a row, `lineage.judge`: a number, larger is better."""
    score = row.get("lineage", {}).get("judge")
    return float(score) if isinstance(score, (int, float)) else None


def _ordered_alike(pairs: list[tuple[float, bool]]) -> float | None:
    right = [score for score, good in pairs if good]
    wrong = [score for score, good in pairs if not good]
    if not right or not wrong:
        return None
    wins = sum((good > bad) + 0.5 * (good == bad) for good in right for bad in wrong)
    return wins / (len(right) * len(wrong))


def _shares(sizes: dict, count: int) -> dict:
    """`count` divided in proportion to the sizes (largest remainders), at least 1 and at most all of each."""
    whole = sum(sizes.values())
    count = min(count, whole)
    exact = {group: count * size / whole for group, size in sizes.items()}
    shares = {group: min(sizes[group], max(1, int(value))) for group, value in exact.items()}
    while sum(shares.values()) < count:
        group = max((g for g in sizes if shares[g] < sizes[g]), key=lambda g: (exact[g] - shares[g], str(g)))
        shares[group] += 1
    while sum(shares.values()) > max(count, len(sizes)):
        group = min((g for g in sizes if shares[g] > 1), key=lambda g: (exact[g] - shares[g], str(g)))
        shares[group] -= 1
    return shares


def _order(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed} {text}".encode()).digest()


def _item(file: str, row: dict[str, Any], nodes: dict[str, dict]) -> Item:
    question, parts = _parts_of(row)
    node = nodes.get(row.get("node_id", ""), {})
    text, lineage = str(node.get("text", "")), row.get("lineage", {})
    place = PLACE.search(str(lineage.get("span") or ""))
    first, last = (int(place.group(1)), int(place.group(2))) if place else (0, 0)
    pages = node.get("pages")
    where = [str(node.get("source") or ""), " › ".join(node.get("path", ()))]
    where += [f"page {pages[0]}" if pages[0] == pages[1] else f"pages {pages[0]}–{pages[1]}"] if pages else []
    return Item(
        id=row["id"],
        file=file.removesuffix(".jsonl"),
        kind=str(row.get("kind", "")),
        question=question,
        thinking=parts.thinking,
        solution=parts.solution,
        answer=parts.answer,
        place=", ".join(part for part in where if part),
        before=text[:first],
        source=text[first:last],
        after=text[last:],
    )


def _parts_of(row: dict[str, Any]) -> tuple[str, Parts]:
    """(what is asked, without the request for the form, which is of no interest to the expert; parts of the reply).

    A reply that somebody else wrote is taken apart where it keeps to the form, else it is shown as the solution.
    """
    exchange, answer = read_exchange(row), str(row.get("answer") or "")
    if exchange and not exchange.verbatim:
        stated = exchange.program or exchange.answer_text
        return render_question(exchange), Parts(exchange.thinking or "", exchange.solution or "", stated)
    reply = row["completion"][-1]["content"] if "completion" in row else str(row.get("reply", ""))
    question = render_question(exchange) if exchange else row["prompt"][-1]["content"]
    return question, split_reply(reply) or Parts("", reply.strip(), answer)
