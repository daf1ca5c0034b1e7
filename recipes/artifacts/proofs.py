"""Proven of rows before anything trains: gold answers score 1.0, silence 0.0, images are what they are called."""

from pathlib import Path

from data_builders.core.schema import image_name
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl


def prove_gold(data: Path) -> int:
    """Grade the gold reply and an empty reply of every rl and test row; the number of rows.

    Raises:
        RecipeError: a gold reply scores below 1.0, or an empty one above 0.0.
    """
    from eval.graders import grade

    faults, rows = [], 0
    for name in ("rl.jsonl", "test.jsonl"):
        for row in read_jsonl(data / name):
            rows += 1
            gold, empty = grade(row, row["reply"]), grade(row, "")
            if gold != 1.0 or empty != 0.0:
                faults.append(f"{name} {row['id']}: gold {row['answer']!r} scores {gold}, an empty reply {empty}")
    if faults:
        raise RecipeError(
            "gold answers do not score 1.0",
            where=str(data),
            got="\n".join(faults[:5]) + (f"\n… {len(faults)} rows in all" if len(faults) > 5 else ""),
            allowed="1.0 for every gold reply, 0.0 for an empty one",
            fix="correct the builder's reply or answer, or the grader; nothing has been trained",
        )
    return rows


def prove_images(data: Path) -> None:
    """Check that every image of a row is there under the name that its content has.

    Later stages know images by their names in the rows alone.

    Raises:
        RecipeError: an image is missing, or its content has another name.
    """
    rows = [row for name in ("sft.jsonl", "rl.jsonl", "test.jsonl") for row in read_jsonl(data / name)]
    named = sorted({image for row in rows for image in row.get("images", ())})
    faults = [
        image for image in named if not (data / image).is_file() or image_name((data / image).read_bytes()) != image
    ]
    if faults:
        raise RecipeError(
            "images of the rows are not what their names say",
            where=str(data),
            got=f"{len(faults)} of {len(named)}, such as {faults[0]}",
            allowed="files written by data_builders.core.schema.store_image",
            fix="correct the builder; nothing has been trained",
        )
