"""Replay from files of published forms: the same rows as from the project's own, said and counted."""

import io
import json

import pytest

from data_builders.core.ledger import Ledger
from recipes.artifacts.rows_context import RowsContext
from recipes.base.errors import RecipeError
from recipes.base.runtime import Runtime
from recipes.methods.mix import replay

OWN_ROWS = [{"id": f"own-{n}"} for n in range(8)]


def mixed(file, records, share=0.2):
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    screen = io.StringIO()
    context = RowsContext(3, {}, Ledger(), file.parent, Runtime(screen))
    rows = replay.mix(OWN_ROWS, replay.Config(general=str(file), share=share), context)
    return rows, context, screen.getvalue()


def test_sharegpt_gives_the_rows_that_own_turns_give_and_says_so(tmp_path):
    own = [
        {
            "prompt": [{"role": "user", "content": f"Say {n}."}],
            "completion": [{"role": "assistant", "content": str(n)}],
        }
        for n in range(9)
    ]
    theirs = [
        {"conversations": [{"from": "human", "value": f"Say {n}."}, {"from": "gpt", "value": str(n)}]} for n in range(9)
    ]
    plain, _, silent = mixed(tmp_path / "general.jsonl", own)
    rows, context, said = mixed(
        tmp_path / "general.jsonl", [*theirs, {"conversations": [theirs[0]["conversations"][0]]}]
    )
    assert rows == plain and len(rows) == 2 and silent == ""
    assert "9 rows read as ShareGPT, 1 left out: no reply" in said
    assert context.note["replay"]["read"] in said
    assert context.ledger.totals()["replay"]["reasons"] == {"no reply": 1}


def test_too_few_rows_are_refused_with_how_many_there_are(tmp_path):
    with pytest.raises(RecipeError, match="too few general rows") as refused:
        mixed(tmp_path / "general.jsonl", [{"question": "Two?", "answer": "2"}])
    assert "1 rows, 2 wanted for 8" in str(refused.value)
