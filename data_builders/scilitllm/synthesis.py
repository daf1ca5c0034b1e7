"""Synthetic scientific instructions: jobs with drawn keywords, a teacher's replies, checks, duplicates, the judge.

jobs ─► teacher (a model, or rules) ─► form checks ─► near duplicates ─► judge ─► records
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data_builders.core.judge import Item, judge_items, read_rubric
from data_builders.core.ledger import require_rows
from data_builders.core.similar import near_duplicates
from data_builders.llm.chat import Chat
from data_builders.llm.prompts import prompt
from data_builders.llm.survey import survey
from data_builders.scilitllm.keywords import jobs_rng
from data_builders.scilitllm.tasks import TASKS, Molecule, Record, Written, record
from recipes.base.hashing import stable_id
from recipes.base.reply_form import render_reply

PROMPTS = Path(__file__).parent / "prompts"
RUBRIC = Path(__file__).with_name("rubric.toml")
ASKED = {"temperature": 1.0, "max_tokens": 3000}


@dataclass(frozen=True)
class Job:
    """One row wanted: of which task, on which keywords, for which split; `draw` tells equal ones apart."""

    task: str
    domain: str
    split: str
    keywords: tuple[str, ...]
    draw: int

    @cached_property
    def id(self):
        return stable_id("job", self.task, self.domain, self.split, self.keywords, self.draw)


def jobs(tables, wanted, settings, seed):
    """The jobs of {(task, split): count}; domains take turns, and every job draws its own keywords."""
    found = []
    for (task, split), count in wanted.items():
        for draw in range(count):
            table = tables[draw % len(tables)]
            rng = jobs_rng(seed, task, split, draw)
            words = table.draw(settings.count, settings.temperature, rng)
            found.append(Job(task, table.domain, split, words, draw))
    return found


def records(spec, jobs, expert, path, ledger, bar, say):
    """([Record] that passed everything, {"similarity", "judge", "teacher"} for the card).

    Raises RecipeError where a model's endpoint, budget or replies end the run, or all that it wrote is dropped.
    """
    replies, spent = _replies(spec.teacher, jobs, expert, path, bar, say)
    made = []
    for job, (value, dropped, asked) in zip(jobs, replies, strict=True):
        reason = dropped if value is None else value.fault()
        if value is None or reason:
            ledger.drop("synthesis", reason or "", job.id, f"{job.task} {' '.join(job.keywords[:5])}")
        else:
            ledger.keep("synthesis")
            name = expert.name if spec.teacher.kind == "expert" else f"{spec.teacher.kind}:{spec.teacher.model}"
            made.append(record(job, value, name, asked))
    if jobs:
        require_rows(made, ledger, "the synthetic rows")
    made, similarity = _without_duplicates(made, spec.similar, ledger)
    made, judge = _judged(spec.judge, made, path, ledger, bar, say)
    if jobs:
        require_rows(made, ledger, "the synthetic rows that the judge lets pass")
    return made, {"similarity": similarity, "judge": judge, **({"teacher": spent} if spent else {})}


def _replies(
    table, jobs, expert, path, bar, say
) -> tuple[list[tuple[Written | Molecule | None, str | None, str]], dict[str, Any]]:
    """([(value or None, reason or None, key in the store)] in order, what a model cost)."""
    if table.kind == "expert":
        with bar("teacher", len(jobs), "rows") as progress:
            found = [_validated(job, expert.write(job)) for job in jobs]
            progress.advance(len(jobs), "by rules")
        return found, {}

    async def work(asker, job):
        answer = await asker.ask(chat(job, asker.model))
        if not answer.dropped:
            asker.check_record(answer.key, answer.value.fault(), answer.value.model_dump_json())
        return answer.value, answer.dropped, answer.key

    return survey(table, path, jobs, work, bar, say, "teacher", "rows")


def _validated(job, reply):
    try:
        return TASKS[job.task].reply.model_validate(reply), None, ""
    except ValidationError as error:
        return None, f"wrong schema: {'.'.join(map(str, error.errors()[0]['loc']))}", ""


def chat(job, model):
    """The question to a model about one job."""
    source = prompt(PROMPTS / f"{job.task}.md")
    user = source.fill("user", domain=job.domain, keywords=", ".join(job.keywords), draw=str(job.draw + 1))
    schema = TASKS[job.task].reply
    return Chat(
        "synthesis", model, source.fill("system"), user, schema, **ASKED, prompt_version=source.id, draw=job.draw
    )


def _without_duplicates(made, threshold, ledger):
    """Records without near duplicates of the same task, and the histogram of likeness."""
    removals, bins = near_duplicates(
        [one.id for one in made],
        [f"{one.text} {one.question} {one.answer}" for one in made],
        threshold,
        [one.task for one in made],
    )
    like = {removal.index: removal for removal in removals}
    kept = []
    for number, one in enumerate(made):
        if number in like:
            other = made[like[number].like]
            ledger.drop("similar", "near duplicate", one.id, f"{like[number].similarity:.2f} like {other.id}")
        else:
            ledger.keep("similar")
            kept.append(one)
    return kept, {"threshold": threshold, "compared": len(made), "bins": bins}


def judge_item(one: Record) -> Item:
    """A record as it is judged: the options without letters, its text as the document."""
    shown, exchange = "\n".join([one.question, *(one.options or ())]), one.exchange
    return Item(id=one.id, shown=shown, reply=render_reply(exchange), exchange=exchange, context=one.text)


def _judged(table, made, path, ledger, bar, say):
    """([(record, mean score or None)] that stay, what the card tells). Rules cannot judge a molecule; models can."""
    rubric = read_rubric(RUBRIC)
    exempt = {one.id for one in made if table.kind == "expert" and TASKS[one.task].reply is Molecule}
    items = [judge_item(one) for one in made if one.id not in exempt]
    verdicts, spent = judge_items(table, rubric, items, path, bar, say)
    found = {verdict.id: verdict for verdict in verdicts}
    kept = []
    for one in made:
        verdict = found.get(one.id)
        if verdict and verdict.dropped:
            ledger.drop("judge", verdict.dropped, one.id, one.question[:120])
        else:
            ledger.keep("judge")
            kept.append((one, verdict.mean if verdict else None))
    means = Counter(f"{mean:.1f}" for _, mean in kept if mean is not None)
    told = {"rubric": rubric.id, "cut": table.cut, "not_judged": len(exempt), "kept_means": dict(sorted(means.items()))}
    return kept, told | spent
