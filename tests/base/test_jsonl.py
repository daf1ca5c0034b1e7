"""Rows of a JSONL file: whoever reads a broken one is told the file and the line."""

import json

import pytest

from recipes.base.errors import RecipeError
from recipes.base.jsonl import iterate_jsonl
from recipes.stages import cpt
from tests.helpers.tables import cpt_table

ROWS = [{"text": "a b\u2028c"}, {"text": "d"}]  # a line separator inside a string ends no row


@pytest.fixture
def file(tmp_path):
    """Two rows, and an empty line between them."""
    file = tmp_path / "rows.jsonl"
    file.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n", encoding="utf-8")
    return file


def test_rows_come_in_order_and_empty_lines_do_not_count(file):
    assert list(iterate_jsonl(file)) == ROWS


@pytest.mark.parametrize("line", ['{"text": "cut of', '["text"]', "1"])
def test_a_line_that_is_no_object_is_named_once_it_is_reached(file, line):
    file.write_text(file.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    rows = iterate_jsonl(file)
    assert [next(rows), next(rows)] == ROWS
    with pytest.raises(RecipeError, match=r"not a JSON object(?s:.*)rows\.jsonl, line 4"):
        next(rows)


def test_the_forecast_of_pretraining_names_the_broken_line_of_the_general_text(file):
    table = cpt_table(general=str(file), general_share=0.5)
    cpt.check_general(table, 3)
    file.write_text('{"text": "one"}\n{', encoding="utf-8")
    with pytest.raises(RecipeError, match=r"rows\.jsonl, line 2"):
        cpt.check_general(table, 3)
