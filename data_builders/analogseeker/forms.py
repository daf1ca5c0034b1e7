"""The same item asked three ways for reinforcement, from easy to hard: yes or no, a choice, openly (Curr-ReFT).

The choice and the open question are asked of the teacher; the statement is made here from the choice's question, one of
its options and its key. arXiv 2503.07065, section 3.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from data_builders.analogseeker.gates import first_failed
from data_builders.analogseeker.records import Qtsa
from data_builders.core.ledger import Ledger
from data_builders.core.schema import order
from recipes.base.hashing import stable_id

FORMS = 3


def with_statements(records: Sequence[Qtsa], seed: int, ledger: Ledger) -> list[Qtsa]:
    """`records`, and behind them a question of yes or no for each choice of the split rl.

    Right and wrong options take turns within a fact, so that neither answer is more frequent there by more than one.
    What a statement proposes wrongly is one of the choice's own wrong options.
    """
    asked, found = Counter(), list(records)
    for record in records:
        if record.split != "rl" or record.kind != "mcq":
            continue
        holds = (order(seed, "statement", record.fact_id) + asked[record.fact_id]) % 2 == 0
        asked[record.fact_id] += 1
        made = statement(record, holds, seed)
        if failed := first_failed(made):
            ledger.drop("replies", failed, made.id, made.question[:120])
        else:
            ledger.keep("replies")
            found.append(made)
    return found


def statement(record: Qtsa, holds: bool, seed: int) -> Qtsa:
    """A choice as a question of yes or no: its right option is proposed where `holds`, else one of the others."""
    right, options = record.answer_text, record.options or ()
    wrong = sorted(set(options) - {right}, key=lambda option: order(seed, record.id, option))
    proposed, answer = (right, "yes") if holds else (wrong[0], "no")
    question = f"{record.question} Proposed answer: {proposed}. Is this right, yes or no?"
    return replace(
        record,
        id=stable_id(record.id, question),
        kind="open",
        question=question,
        solution=f"The right answer is {right}, so: {answer}.",
        answer=answer,
        options=None,
    )
