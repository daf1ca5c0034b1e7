"""Two data artefacts compared: each row of either side is counted once, where it comes from, and how it changed."""

import json

from recipes.report.data_diff import as_text, compare_data


def row(name, text, node="n1", wording=0, **more):
    return {
        "id": name,
        "kind": "open",
        "node_id": node,
        "fact_id": f"f-{node}",
        "prompt": [{"role": "user", "content": text}],
        "lineage": {"wording": wording, "draw": 0, "requests": [name], "record": name},
    } | more


def artefact(folder, rows, nodes, card=None):
    folder.mkdir()
    (folder / "sft.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "nodes.jsonl").write_text("".join(json.dumps(n) + "\n" for n in nodes))
    (folder / "card.json").write_text(json.dumps(card or {}))
    return folder


def node(name, source, text="text"):
    return {"node_id": name, "source": source, "text": text}


def compared(tmp_path):
    long = "The same opening of a question that goes on and on for quite some time, longer than is shown. " * 2
    a = artefact(
        tmp_path / "a",
        [row("1", "same"), row("2", long + "old end", wording=1), row("3", "gone", node="n2")],
        [node("n1", "a.md"), node("n2", "b.pdf")],
        {"facts": 2, "ledger": {"nodes": {"in": 2}}},
    )
    b = artefact(
        tmp_path / "b",
        [
            row("1", "same"),
            row("4", long + "new end", wording=1),
            row("5", "new", node="n3"),
            row("6", "new too", node="n3"),
        ],
        [node("n1", "a.md", "other text"), node("n3", "rows.jsonl:7")],
        {"facts": 3, "ledger": {"nodes": {"in": 2}}},
    )
    return compare_data(a, b), a, b


def test_rows_are_the_same_changed_added_or_removed_by_file_and_source(tmp_path):
    found, _, _ = compared(tmp_path)
    assert found.files["sft.jsonl"] == {"same": 1, "changed": 1, "added": 2, "removed": 1}
    assert found.sources == {
        "a.md": {"same": 1, "changed": 1},
        "b.pdf": {"removed": 1},
        "rows.jsonl": {"added": 2},
    }
    assert found.nodes == {"changed": 1, "removed": 1, "added": 1}
    assert found.card == [("facts", "2", "3")]


def test_both_directions_count_alike(tmp_path):
    _, a, b = compared(tmp_path)
    back = compare_data(b, a)
    assert back.files["sft.jsonl"] == {"same": 1, "changed": 1, "added": 1, "removed": 2}
    assert compare_data(a, a).files["sft.jsonl"] == {"same": 3} and compare_data(a, a).examples == []


def test_the_text_shows_where_a_changed_row_differs(tmp_path):
    lines = as_text(compared(tmp_path)[0])
    assert any(line.split() == ["sft.jsonl", "1", "1", "2", "1"] for line in lines)
    assert any(line.endswith("old end") and line.strip().startswith("- …") for line in lines)
    assert any(line.endswith("new end") and line.strip().startswith("+ …") for line in lines)
    assert "  facts: 2 -> 3" in lines
