"""Questions about vibration signals with answers that are true by construction: type, parameters, diagnosis.

Source: by default signals simulated for this recipe in twelve classes (single and multi harmonic, AM, FM, AM-FM,
periodic impulses, faults of outer race, inner race, ball and gear, chirp, healthy machine), with the kinematics of real
bearings, slip, load zones and noise at a stated level; or recordings from a folder. A model reads measured features in
place of the signal (or its first samples, or sees a picture of waveform, spectrum and envelope spectrum), and the shaft
rate and bearing geometry of the machine, which are known of every signal whatever its class. Every sample stands in
signals.npz under the key that a row's lineage names.

Splits. Simulated: every parameter of a test signal lies in a grid cell that no training signal uses, and every question
has a wording that no training row has. *composition* asks for both types of superposed signals whose pair is in no
training row, *pairs* for pairs that are. *type_none* and *type_shuffled* ask type questions without a signal and with
the features of another one, *parameter_none* and *parameter_shuffled* ask for parameters so: a model that scores there
knows something else than the signal. Recorded: whole recordings by load, so a test window comes from a load that
training has not seen; training windows overlap, test windows do not. A class that is recorded at no test load is not
tested, though a model may still answer it. Simulated signals of the same classes may stand beside them in training.

Limits: simulated signals hold one machine part each, white noise and steady speed; real machines are richer. With
measured features the signal processing does much of the work: rules.jsonl has what plain rules make of the same
features, and a model has to be read beside it. No question asks for what the prompt gives: the shaft rate, or the rate
of a bearing's fault, which is a product of what is given. Recordings have no ground truth but their class and speed, so
no parameter of theirs is asked, and fault frequencies in their findings are computed, not measured.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.core.benchmarks import read_benchmarks
from data_builders.core.build import Leaks, Made, count_row_tokens, finish
from data_builders.core.ledger import Ledger
from data_builders.core.progress import Bar, Say
from data_builders.core.schema import order
from data_builders.vsllava import questions
from data_builders.vsllava.features import describe, heading, measure, quantise
from data_builders.vsllava.image import illustrated
from data_builders.vsllava.rules import answer, note
from data_builders.vsllava.signals import HELD_OUT, SIMULATED, Signal, text
from data_builders.vsllava.spec import Spec
from data_builders.vsllava.supply import Supply, recorded, simulated, split_of
from recipes.base.errors import RecipeError

VERSION = 2
SHIPPED = Path(__file__).parent / "corpus"
SIGNALS = "signals.npz"


def corpus_dir(spec: Spec) -> Path:
    """The folder that a spec's source stands for: the wordings of simulated signals, or the recordings."""
    if spec.source == SIMULATED:
        return SHIPPED
    folder = Path(spec.source).expanduser()
    if not folder.is_dir():
        raise RecipeError(
            "The folder of recordings is not there.",
            where="data.source",
            got=f'"{spec.source}"',
            allowed='"simulated", or a folder that exists',
            fix=f"correct the path; it starts from {Path.cwd()}",
        )
    return folder


# Kinds of items that a view cannot answer, and parameters: the first samples show neither where a sweep ends nor two
# strikes of a slow train.
UNANSWERABLE = {"none": ("parameter",)}
UNSEEN = {"quantised": ("end", "rate")}
MEASURED = ("features", "image")  # views that show what the thinking of a training row states
FAMILY = {"type": "type", "parameter": "parameter", "explain": "explain", "pairs": "type", "composition": "type"}
CONTROLLED = ("type", "parameter")


def _supplies(spec, folder, seed, ledger):
    """Supplies by their name: the source, and what stands beside recordings in training."""
    if spec.source == SIMULATED:
        return {"source": simulated(spec, seed)}
    supply = recorded(spec, folder, seed, ledger)
    return {"source": supply, "beside": simulated(spec, seed, supply.labels)}


def _counts(spec, supplies):
    """{(name of the supply, use, kind): rows}"""
    whole = sum(spec.mix.model_dump().values())
    parameters = round(spec.rl_rows * spec.rl_parameters)
    wanted = {
        **{("source", "sft", kind): round(spec.sft_rows * part / whole) for kind, part in spec.mix},
        **{("beside", "sft", kind): round(spec.simulated_rows * part / whole) for kind, part in spec.mix},
        ("source", "rl", "type"): spec.rl_rows - parameters,
        ("source", "rl", "parameter"): parameters,
        **{("source", "test", kind): getattr(spec.tests, kind) for kind in FAMILY},
    }
    return {
        (name, use, kind): 0 if kind in UNANSWERABLE.get(spec.view, ()) else min(count, supplies[name].most(use, kind))
        for (name, use, kind), count in wanted.items()
        if name in supplies
    }


def plan(
    spec: Spec, folder: Path, seed: int, ledger: Ledger
) -> tuple[dict[str, Supply], dict[tuple[str, str, str], int]]:
    """(supplies of signals by name, {(name of the supply, use, kind): rows}), for the forecast as for the build."""
    supplies = _supplies(spec, folder, seed, ledger)
    return supplies, _counts(spec, supplies)


def forecast(spec: Spec, corpus_dir: Path, replies: Path | None = None) -> dict[str, Any]:
    """What a build will come to: nodes (at most), requests (none is sent), rows by file, tokens."""
    supplies, counts = plan(spec, corpus_dir, 0, Ledger())
    by_use = {use: sum(count for (_, of, _), count in counts.items() if of == use) for use in ("sft", "rl", "test")}
    by_use["test"] += sum(2 * min(spec.tests.controls, counts["source", "test", kind]) for kind in CONTROLLED)
    few = [
        questions.sft_row(item, "type")
        for item in _items(spec, supplies["source"], 0, "sft", "type", min(12, counts["source", "sft", "type"]))
    ]
    tokens = sum(map(count_row_tokens, few))
    rows = sum(by_use.values())
    return {
        "nodes": rows,
        "requests": rows,
        "rows": rows,
        **by_use,
        "tokens": tokens * by_use["sft"] // max(1, len(few)),
    }


def _items(spec, supply, seed, use, kind, count):
    wordings = questions.read_wordings(SHIPPED)
    items = []
    for signal, number in supply.draw(use, kind, count):
        found = measure(signal, spec.peaks)
        asked = FAMILY[kind], _shown(signal, found, spec), note(found) if spec.view in MEASURED else ""
        about = number, split_of(use), wordings, supply.labels, UNSEEN.get(spec.view, ())
        items.append(questions.ask(signal, *asked, *about))
    return items


def _shown(signal, found, spec):
    if spec.view == "features":
        return describe(found)
    if spec.view == "image":
        return heading(found)
    return f"{heading(found)}\n{quantise(signal)}" if spec.view == "quantised" else ""


def build(
    spec: Spec, corpus_dir: Path, out: Path, seed: int, bar: Bar, say: Say, replies: Path | None = None
) -> dict[str, Any]:
    """Build all rows under `out`, the same bytes every time. Returns the metrics.

    `bar(title, total, unit)` is a context manager whose `.advance(n, note)` counts; `say(text)` tells a person one
    line. No teacher is asked, so `replies` is not used. Raises RecipeError for recordings that cannot be used or that
    training and test share, and for leaks above the threshold.
    """
    ledger, tests_outside = Ledger(), read_benchmarks(spec.benchmarks)
    supplies, counts = plan(spec, corpus_dir, seed, ledger)
    made = defaultdict(list)
    with bar("signals", sum(counts.values()), "signals") as progress:
        for (name, use, kind), count in counts.items():
            made[use, kind] += _items(spec, supplies[name], seed, use, kind, count)
            progress.advance(count, f"{use} {kind}")
    train = {
        use: sorted(
            ((kind, item) for (of, kind), items in made.items() if of == use for item in items),
            key=lambda pair: order(seed, "rows", pair[1].id),
        )
        for use in ("sft", "rl")
    }
    asked = [(kind, item, item.signal) for kind in FAMILY for item in made["test", kind]]
    for kind in CONTROLLED:
        asked += _controls(kind, made["test", kind][: spec.tests.controls], spec, seed)
    sft = [questions.sft_row(item, kind) for kind, item in train["sft"]]
    rl = [questions.graded_row(item, kind, questions.REWARDS[kind], item.signal) for kind, item in train["rl"]]
    tests = [questions.graded_row(item, kind, questions.GRADERS[item.family], shown) for kind, item, shown in asked]
    rules = [
        {"id": row.id, "reply": answer(shown and measure(shown, spec.peaks), item)}
        for row, (_, item, shown) in zip(tests, asked, strict=True)
    ]
    signals = {item.signal.id: item.signal for items in made.values() for item in items}
    write_signals(out / SIGNALS, signals.values())
    if spec.view == "image":
        samples = {name: signal.samples for name, signal in signals.items()}
        with bar("pictures", len(sft) + len(rl) + len(tests), "rows") as progress:
            sft = illustrated(sft, samples, out, advance=progress.advance)
            rl = illustrated(rl, samples, out, advance=progress.advance)
            tests = illustrated(tests, samples, out, advance=progress.advance)
    untested = sorted(set(supplies["source"].labels) - {label for _, item, _ in asked for label in item.signal.labels})
    return finish(
        out,
        "vsllava",
        VERSION,
        __doc__,
        Made(
            [_node(signal) for signal in signals.values()], sft, rl, tests, {"rules": rules}, answer_as=spec.answer_as
        ),
        ledger,
        Leaks(spec.leak_threshold, _known(item for _, item, _ in asked), tests_outside),
        say,
        notes=[f"Not in the test, for want of a recording at its loads: {', '.join(untested)}."] if untested else [],
        corpus=spec.source,
        view=spec.view,
        snr_db={use: _noise(item.signal for _, item in train[use]) for use in train},
        held_out=[" + ".join(pair) for pair in HELD_OUT] if made["test", "composition"] else [],
    )


def _controls(kind, items, spec, seed):
    """Items of that kind again without a signal, and with that of another of them: [(kind, item, signal or None)]."""
    turned = sorted(items, key=lambda item: order(seed, "shuffled", item.id))
    other = {item.id: following.signal for item, following in zip(turned, turned[1:] + turned[:1], strict=True)}
    blind = [(f"{kind}_none", replace(item, shown=""), None) for item in items]
    swapped = [
        (f"{kind}_shuffled", replace(item, shown=_shown(shown, measure(shown, spec.peaks), spec)), shown)
        for item in items
        for shown in (other[item.id],)
    ]
    return blind + swapped


def _known(items):
    """What stands at the head of a prompt about any signal of the same machine: no part of a test item.

    With it the samples of the quantised view, of which 13 in a row are alike in any two silences or steady tones; that
    no signal is in both splits is seen to by their grid and by the loader of recordings.
    """
    heads = {" ".join(item.shown.split("\n")[:3]).partition(":")[0] for item in items}
    return sorted(heads - {""})


def _noise(signals):
    counts = Counter("none" if signal.snr_db is None else f"{signal.snr_db:g}" for signal in signals)
    return dict(sorted(counts.items()))


def _node(signal):
    told = [
        f"{label}: " + ", ".join(f"{name} {text(value)}" for name, value in params.items())
        for label, params in signal.by_label.items()
    ]
    told.append(f"noise {signal.snr_db} dB, {signal.fs} Hz, {len(signal.samples)} samples, {signal.source}")
    return {
        "node_id": signal.id,
        "number": "",
        "path": [signal.label, signal.id],
        "family": signal.label,
        "text": "\n".join(told),
    }


def write_signals(path: Path, signals: Iterable[Signal]) -> None:
    """One float32 array for each signal, by its id; the same bytes for the same signals."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as stream:
        arrays: dict[str, Any] = {signal.id: signal.samples for signal in signals}
        np.savez(stream, **arrays)
    os.replace(part, path)
