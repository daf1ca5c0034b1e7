"""How well a signal's type is named as noise rises: plain rules and models of a run, on the same signals.

Every class has the same signals at every level, with the same noise made louder; their parameters come from the cells
of the test, their wordings too. Levels below 5 dB occur in no training row of the default recipe. Prints per cent right
with 95 % intervals (clusters are signals) and writes the table as JSON and as a picture.

    python -m benchmarks.noise_sweep --model sft=runs/vsllava/embedded/sft-AAAAAAAA \
        --model rl=runs/vsllava/embedded/rl-AAAAAAAA --out runs/noise_sweep
"""

import argparse
import json
from contextlib import contextmanager, nullcontext
from pathlib import Path

from data_builders.vsllava import builder
from data_builders.vsllava.spec import Spec
from eval.graders import grade
from recipes.base.jsonl import read_jsonl
from recipes.config.schema import Model
from recipes.report import stats

LEVELS = (20.0, 10.0, 5.0, 0.0, -5.0, -10.0)  # dB
ONLY_TYPE = {"parameter": 0, "explain": 0, "pairs": 0, "composition": 0, "controls": 0}
WIDE, HIGH, LEFT, TOP = 640, 300, 50, 20  # of the picture's field, in its units
COLOURS = ("#6b7280", "#9ca3af", "#2563eb", "#dc2626", "#059669")


class Silent:
    def advance(self, n=1, note=None):
        pass


@contextmanager
def silent(title, total, unit):
    yield Silent()


def items(level: float, count: int, seed: int, peaks: int, out: Path) -> tuple[list[dict], dict[str, str]]:
    """(test rows, replies of the rules by id) with noise of that level."""
    out.mkdir(parents=True, exist_ok=True)
    asked = {"type": count, **ONLY_TYPE}
    spec = Spec(peaks=peaks, clean=0.0, snr_db=(level,), tests=asked, sft_rows=1, rl_rows=0)
    builder.build(spec, builder.corpus_dir(spec), out, seed, silent, lambda text: None)
    return read_jsonl(out / "test.jsonl"), {row["id"]: row["reply"] for row in read_jsonl(out / "rules.jsonl")}


def replies(model, tokenizer, rows: list[dict], batch: int, longest: int) -> list[str]:
    found = []
    for start in range(0, len(rows), batch):
        prompts = [row["prompt"] for row in rows[start : start + batch]]
        texts = tokenizer.apply_chat_template(prompts, tokenize=False, add_generation_prompt=True)
        asked = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
        asked.pop("token_type_ids", None)
        told = model.generate(**asked, max_new_tokens=longest, do_sample=False)[:, asked["input_ids"].shape[1] :]
        found += tokenizer.batch_decode(told, skip_special_tokens=True)
    return found


def picture(table: dict[str, dict[float, float]]) -> str:
    """The curves {name: {dB: share}} as an SVG, loud noise to the right."""
    levels = sorted(next(iter(table.values())), reverse=True)

    def place(level, share):
        return LEFT + WIDE * levels.index(level) / (len(levels) - 1), TOP + HIGH * (1 - share)

    parts = [
        f'<line x1="{LEFT}" x2="{LEFT + WIDE}" y1="{y:g}" y2="{y:g}" stroke="#e5e7eb"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:g}" text-anchor="end">{100 * share:g} %</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
        for _, y in (place(levels[0], share),)
    ]
    parts += [
        f'<text x="{place(level, 0)[0]:g}" y="{TOP + HIGH + 20}" text-anchor="middle">{level:g} dB</text>'
        for level in levels
    ]
    for (name, curve), colour in zip(table.items(), COLOURS, strict=False):
        points = " ".join("{:.1f},{:.1f}".format(*place(level, curve[level])) for level in levels)
        x, y = place(levels[-1], curve[levels[-1]])
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{colour}">{name}</text>')
    size = f'width="{WIDE + LEFT + 90}" height="{HIGH + TOP + 50}"'
    title = f'<text x="{LEFT + WIDE / 2:g}" y="{TOP + HIGH + 42}" text-anchor="middle">signal to noise</text>'
    font = 'font-family="sans-serif" font-size="13"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>{"".join(parts)}{title}</svg>\n'


def main() -> None:
    from recipes.models import loader

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER", help="a stage with an adapter")
    parser.add_argument("--base", default="embedded")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--items", type=int, default=96, help="signals of a level, the classes in turn")
    parser.add_argument("--peaks", type=int, default=3, help="as in the recipe that the models come from")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--out", type=Path, default=Path("runs/noise_sweep"))
    args = parser.parse_args()
    base = Model(name=args.base)
    tokenizer, model = loader.load_tokenizer(base), loader.load_base(base)
    adapters = {name: Path(folder) / "adapter" for name, folder in (pair.split("=", 1) for pair in args.model)}
    if adapters:
        model = loader.load_adapters(model, adapters)
    model.eval()
    table = {name: {} for name in ("rules", "base", *adapters)}
    for level in LEVELS:
        rows, ruled = items(level, args.items, args.seed, args.peaks, args.out / f"{level:g}dB")
        for name in table:
            if name in adapters:
                model.set_adapter(name)
            with model.disable_adapter() if name == "base" and adapters else nullcontext():
                told = [ruled[row["id"]] for row in rows] if name == "rules" else None
                told = told or replies(model, tokenizer, rows, args.batch, 96)
            scores = [grade(row, reply) for row, reply in zip(rows, told, strict=True)]
            shown = stats.score_interval(scores, [row["node_id"] for row in rows])
            table[name][level] = sum(scores) / len(scores)
            low, high = 100 * shown.low, 100 * shown.high
            print(f"{level:6g} dB  {name:8} {100 * table[name][level]:5.1f} ({low:.1f} to {high:.1f})")
    (args.out / "noise_sweep.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    (args.out / "noise_sweep.svg").write_text(picture(table), encoding="utf-8")
    print(args.out / "noise_sweep.svg")


if __name__ == "__main__":
    main()
