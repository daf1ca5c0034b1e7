"""The general rows of scilitllm's first supervised stage, from files of published forms."""

import json

from data_builders.scilitllm import builder
from data_builders.scilitllm.spec import Spec


def test_alpaca_rows_become_rows_of_the_first_supervised_stage(tmp_path):
    file = tmp_path / "general.json"
    file.write_text(json.dumps([{"instruction": f"Say {n}.", "output": f"{n}"} for n in range(5)]), encoding="utf-8")
    rows, counts = builder._general(Spec(general=str(file), general_rows=3))
    assert [row["completion"] for row in rows] == [[{"role": "assistant", "content": f"{n}"}] for n in range(3)]
    assert len({row["id"] for row in rows}) == 3 and {row["lineage"]["file"] for row in rows} == {str(file)}
    assert counts.describe() == "3 rows read as Alpaca"
