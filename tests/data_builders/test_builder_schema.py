"""What the `[data]` table refuses, and files that are written whole or not at all."""

import pytest
from pydantic import ValidationError

from data_builders.analogseeker.spec import Spec
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl, write_jsonl


@pytest.mark.parametrize(
    "bad",
    [
        {"corpous": "x"},
        {"teacher": {"kind": "openai"}},
        {"draws": 0},
        {"mix": {"mcq": 2}},
        {"mix": {"mcq": 0, "open": 0, "calc": 0}},
        {"tests": {"knowledge": -1}},
    ],
)
def test_the_spec_refuses_what_it_does_not_know(bad):
    with pytest.raises(ValidationError):
        Spec.model_validate(bad)


def test_jsonl_is_written_whole_and_a_bad_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"b": 1, "a": "µ"}])
    assert path.read_text(encoding="utf-8") == '{"a":"µ","b":1}\n' and read_jsonl(path) == [{"a": "µ", "b": 1}]
    with pytest.raises(ZeroDivisionError):
        write_jsonl(path, ({"x": 1 / 0} for _ in range(2)))
    assert read_jsonl(path) == [{"a": "µ", "b": 1}]
    path.write_text('{"a": 1}\n[1]\n')
    with pytest.raises(RecipeError, match="not a JSON object"):
        read_jsonl(path)
