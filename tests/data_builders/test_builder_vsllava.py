"""The vsllava data: rows and what is shown of a signal, true answers, controls, recordings split by load, leaks."""

import json
import re
from collections import Counter, defaultdict
from contextlib import contextmanager

import numpy as np
import pytest
from scipy.io import savemat, wavfile

from data_builders.vsllava import builder, questions
from data_builders.vsllava.recordings import read_recordings
from data_builders.vsllava.signals import HELD_OUT, TAUGHT, simulate
from data_builders.vsllava.spec import Spec
from eval.graders import grade
from eval.graders.quantity import read_quantities
from recipes.base.errors import RecipeError
from recipes.base.jsonl import read_jsonl
from recipes.base.places import ROOT

pytestmark = pytest.mark.slow  # whole data sets are built

CWRU = next((d for up in (ROOT.parent, ROOT.parent.parent) if (d := up / "shared" / "data" / "cwru").is_dir()), None)
TESTS = {"type": 48, "parameter": 40, "explain": 12, "pairs": 16, "composition": 8, "controls": 24}
SMALL = {"sft_rows": 240, "rl_rows": 48, "peaks": 3, "tests": TESTS}
FILES = ["card.json", "leaks.json", "ledger.jsonl", "nodes.jsonl", "rl.jsonl", "rules.jsonl", "sft.jsonl"]
FILES += ["signals.npz", "test.jsonl"]


class Bar:
    def advance(self, n=1, note=None):
        pass


@contextmanager
def bar(title, total, unit):
    yield Bar()


def build(out, seed=42, **changes):
    out.mkdir(parents=True, exist_ok=True)
    spec = Spec.model_validate(changes)
    builder.build(spec, builder.corpus_dir(spec), out, seed, bar, lambda text: None)
    rows = {name: read_jsonl(out / f"{name}.jsonl") for name in ("sft", "rl", "test", "nodes", "rules")}
    return rows, json.loads((out / "card.json").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated")
    return *build(out, **SMALL), out


def prompt(row):
    return row["prompt"][0]["content"]


def of_kind(rows, kind):
    return [row for row in rows["test"] if row["kind"] == kind]


def test_every_kind_has_the_rows_that_were_asked_for_and_the_forecast_knows(made):
    rows, card, _ = made
    kinds = Counter(row["kind"] for row in rows["test"])
    controls = {f"{kind}_{control}": 24 for kind in ("type", "parameter") for control in ("none", "shuffled")}
    assert kinds == {kind: size for kind, size in TESTS.items() if kind != "controls"} | controls
    assert Counter(row["kind"] for row in rows["sft"]) == {"type": 156, "parameter": 48, "explain": 12, "pairs": 24}
    assert Counter(row["grader"] for row in rows["rl"]) == {"label": 48}
    assert set(Counter(row["answer"] for row in of_kind(rows, "type")).values()) == {4}
    spec = Spec.model_validate(SMALL)
    told = builder.forecast(spec, builder.corpus_dir(spec))
    assert [told[use] for use in ("sft", "rl", "test")] == [240, 48, len(rows["test"])]
    assert told["tokens"] == pytest.approx(card["tokens"]["sft"], rel=0.25)
    assert card["held_out"] == [" + ".join(pair) for pair in HELD_OUT]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(made, tmp_path):
    *_, out = made
    build(tmp_path / "again", **SMALL)
    build(tmp_path / "other", seed=43, **SMALL)
    for name in FILES:
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    assert (out / "signals.npz").read_bytes() != (tmp_path / "other" / "signals.npz").read_bytes()


def test_a_row_names_its_signal_and_its_rate_and_a_row_without_one_names_none(made):
    rows, _, out = made
    with np.load(out / "signals.npz") as stored:
        signals = dict(stored)
    for row in [*rows["sft"], *rows["rl"], *rows["test"]]:
        if row["kind"].endswith("_none"):
            assert "signal" not in row["lineage"]
            continue
        samples = signals[row["lineage"]["signal"]]
        assert samples.dtype == np.float32 and len(samples) == row["lineage"]["fs"] == 2048
        rms = float(re.search(r"rms (\S+)", prompt(row))[1])
        assert np.std(samples) == pytest.approx(rms, rel=0.01)


def test_the_answer_of_a_parameter_row_is_its_target_with_the_unit(made):
    rows, *_ = made
    for row in of_kind(rows, "parameter"):
        (target,) = row["lineage"]["targets"]
        (stated,) = read_quantities(row["answer"])
        assert stated.unit == (target["unit"] or "") and target["name"] in prompt(row)
        assert stated.number == target["value"]
        assert row["unit"] == target["unit"] and row["tolerance"] == target["tol"]


def test_the_heading_alone_answers_no_parameter_but_by_chance(made):
    rows, *_ = made
    lucky = []
    for row in of_kind(rows, "parameter"):
        head = prompt(row).partition("\n")[0]
        shaft = float(re.search(r"shaft (\S+) Hz", head)[1])
        orders = [1.0, *map(float, re.findall(r"(?:outer|inner|ball) (\S+)", head))]
        lucky.append(any(grade(row, f"<answer>{shaft * order} {row['unit'] or ''}</answer>") for order in orders))
    assert len(orders) == 4 and np.mean(lucky) < 0.15


def test_numbers_of_every_answer_are_parameters_of_the_signal(made):
    rows, *_ = made
    for row in rows["sft"]:
        parts = row["lineage"]["params"]
        parts = parts.values() if " + " in row["lineage"]["class"] else [parts]
        known = [value for part in parts for value in part.values()]
        reply = row["completion"][0]["content"].partition("</think>")[2].replace("m/s^2", "")
        for number in map(float, re.findall(r"\d+(?:\.\d+)?", reply)):
            assert any(abs(number - value) <= 0.006 * value for value in known), (reply, parts)


def test_gold_replies_score_one_and_none_zero(made):
    rows, *_ = made
    for row in [*rows["rl"], *rows["test"]]:
        assert grade(row, row["reply"]) == 1.0 and grade(row, "") == 0.0


def test_training_and_test_share_no_wording_and_no_signal(made):
    rows, card, _ = made
    used = defaultdict(set)
    for use in ("sft", "rl", "test"):
        for row in rows[use]:
            family = "type" if row["grader" if use != "sft" else "kind"] in ("class", "label", "pairs") else row["kind"]
            used[use == "test", "wording"].add((family, row["lineage"]["wording"]))
            used[use == "test", "signal"].add(row["lineage"].get("signal"))
            used[use == "test", "shown"].add(prompt(row).partition("\nGive")[0])
    for what in ("wording", "signal", "shown"):
        assert not used[True, what] & used[False, what]
    assert card["leaks"]["passed"]
    table = questions.read_wordings(builder.SHIPPED)
    for family in questions.FAMILIES:
        assert len(table[family]["train"]) >= 5 and len(table[family]["test"]) >= 5


def test_pairs_of_the_composition_test_are_in_no_training_row(made):
    rows, *_ = made
    trained = {row["lineage"]["class"] for row in [*rows["sft"], *rows["rl"]]}
    assert {row["answer"] for row in of_kind(rows, "composition")} == {" + ".join(pair) for pair in HELD_OUT}
    assert {row["answer"] for row in of_kind(rows, "pairs")} == {" + ".join(pair) for pair in TAUGHT} <= trained
    assert not trained & {" + ".join(pair) for pair in HELD_OUT}


@pytest.mark.parametrize("kind", ["type", "parameter"])
def test_the_controls_ask_the_same_items_without_the_signal_and_with_another(kind, made):
    rows, *_ = made
    seen = {row["node_id"]: row for row in of_kind(rows, kind)}
    for row in of_kind(rows, f"{kind}_none"):
        assert not re.search(r"\d", prompt(row)) and prompt(seen[row["node_id"]]).endswith(prompt(row))
        assert row["answer"] == seen[row["node_id"]]["answer"]
    shown = Counter(row["lineage"]["signal"] for row in of_kind(rows, f"{kind}_shuffled"))
    assert set(shown.values()) == {1}
    for row in of_kind(rows, f"{kind}_shuffled"):
        assert row["lineage"]["signal"] != row["node_id"] and row["answer"] == seen[row["node_id"]]["answer"]
        assert prompt(row).split("\n")[:5] == prompt(seen[row["lineage"]["signal"]]).split("\n")[:5]


def test_rules_answer_every_item_and_fall_to_chance_on_the_controls(made):
    rows, *_ = made
    replies = {row["id"]: row["reply"] for row in rows["rules"]}
    assert replies.keys() == {row["id"] for row in rows["test"]}
    scores = defaultdict(list)
    for row in rows["test"]:
        scores[row["kind"]].append(grade(row, replies[row["id"]]))
    mean = {kind: np.mean(found) for kind, found in scores.items()}
    assert mean["type"] > 0.8 and mean["parameter"] > 0.8
    assert mean["type_none"] == mean["parameter_none"] == 0.0
    assert mean["type_shuffled"] < 0.3 and mean["parameter_shuffled"] < 0.3


def test_parameter_prompts_of_reinforcement_are_rewarded_by_closeness(tmp_path):
    rows, _ = build(tmp_path, **SMALL | {"sft_rows": 24, "rl_parameters": 0.5})
    assert Counter(row["grader"] for row in rows["rl"]) == {"label": 24, "close": 24}


@pytest.mark.parametrize(("view", "lines"), [("quantised", 3), ("none", 0)])
def test_other_views_show_samples_or_nothing_and_neither_think_nor_ask_what_is_not_shown(view, lines, tmp_path):
    rows, _ = build(tmp_path, **SMALL | {"sft_rows": 120, "view": view})
    shown = prompt(of_kind(rows, "type")[0]).split("\n")
    assert len(shown) == 2 + lines
    if lines:
        assert shown[0].startswith("1 s at 2048 Hz in m/s^2, shaft ") and len(shown[2].split()) == 512
    thoughts = [row["completion"][0]["content"].partition("</think>")[0] for row in rows["sft"]]
    assert thoughts and not any(re.search(r"\d", thought) for thought in thoughts)
    asked = {row["fact_id"].partition(": ")[2] for row in [*rows["sft"], *rows["test"]]}
    assert asked == {"type", "explain"} if view == "none" else asked >= {"start", "carrier"} and "end" not in asked


def test_a_bad_wordings_file_is_told_in_whole(tmp_path):
    text = (builder.SHIPPED / "questions.toml").read_text(encoding="utf-8")
    text = text.replace("Name the signal type.", "Identify the kind of signal.").replace("at {carrier}", "at {carier}")
    (tmp_path / "questions.toml").write_text(text.replace("What is the {name}?", "What is it?"), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        questions.read_wordings(tmp_path)
    for part in ("in train and test", "no {name}", "it has no {carier}"):
        assert part in str(caught.value)


def record(folder, name, fault, seed, load, rpm=1750, fs=4096, seconds=3):
    """A simulated fault as a recording: (manifest entry, samples)."""
    spec = Spec(fs=fs, seconds=seconds)
    samples = simulate((fault,), "train", seed, "recorded", 0, spec).samples
    told = {"file": name, "label": fault, "load": load, "fs": fs, "rpm": rpm, "bearing": "6205"}
    return "[[recording]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items()), samples


@pytest.fixture
def folder(tmp_path):
    """Four recordings in four formats, two loads, and one of a load that nobody asked for."""
    wanted = [("a.csv", "outer race fault", 1, "0"), ("b.wav", "inner race fault", 2, "1")]
    wanted += [("c.npz", "outer race fault", 3, "2"), ("d.npy", "inner race fault", 4, "2")]
    wanted += [("e.npy", "healthy", 5, "9")]
    entries = []
    for name, fault, seed, load in wanted:
        entry, samples = record(tmp_path, name, fault, seed, load)
        entries.append(entry + ('channel = "axial"\n' if name in ("a.csv", "c.npz") else ""))
        if name.endswith(".csv"):
            table = np.column_stack([samples, np.zeros_like(samples)])
            np.savetxt(tmp_path / name, table, delimiter=",", header="axial, radial", comments="")
        elif name.endswith(".wav"):
            wavfile.write(tmp_path / name, 4096, samples)
        elif name.endswith(".npz"):
            np.savez(tmp_path / name, axial=samples, radial=samples[::-1])
        else:
            np.save(tmp_path / name, samples)
    (tmp_path / "recordings.toml").write_text("".join(entries), encoding="utf-8")
    return tmp_path


RECORDED = SMALL | {"sft_rows": 200, "seconds": 0.5}


def test_recordings_of_any_format_are_split_whole_by_load(folder, tmp_path):
    rows, card = build(tmp_path / "out", **RECORDED | {"source": str(folder)})
    by_use = {use: {row["lineage"]["source"] for row in rows[use]} for use in ("sft", "rl", "test")}
    assert by_use == {"sft": {"a.csv", "b.wav"}, "rl": {"a.csv", "b.wav"}, "test": {"c.npz", "d.npy"}}
    assert {row["node_id"] for row in rows["test"]} == {"c.npz", "d.npy"}
    assert card["ledger"]["recordings"]["reasons"] == {"its load is neither for training nor for the test": 1}
    assert "healthy" in card["notes"][0] and "healthy" in of_kind(rows, "type")[0]["options"]
    assert len(of_kind(rows, "type")) == 12 and not of_kind(rows, "pairs")
    assert not any("parameter" in row["kind"] for row in [*rows["sft"], *rows["test"]])
    assert of_kind(rows, "type")[0]["lineage"]["params"]["shaft"] == pytest.approx(1750 / 60)


def test_simulated_rows_stand_beside_recordings_in_training_alone(folder, tmp_path):
    plain, _ = build(tmp_path / "plain", **RECORDED | {"source": str(folder)})
    rows, card = build(tmp_path / "out", **RECORDED | {"source": str(folder), "simulated_rows": 80})
    added = [row for row in rows["sft"] if row["lineage"]["source"] == "simulated"]
    assert Counter(row["kind"] for row in added) == {"type": 52, "parameter": 16, "explain": 4}
    assert {row["lineage"]["class"] for row in added} == {"healthy", "inner race fault", "outer race fault"}
    assert {row["lineage"]["wording"].split()[0] for row in added} == {"train"} and card["leaks"]["passed"]
    assert len(rows["sft"]) - len(added) == len(plain["sft"])
    for name in ("rl", "test"):
        assert rows[name] == plain[name]
    options = re.search(r"one or more of: (.*)", prompt(of_kind(rows, "type")[0]))[1]
    assert all(options in prompt(row) for row in added if row["kind"] == "type")
    spec = Spec.model_validate(RECORDED | {"source": str(folder), "simulated_rows": 80})
    assert builder.forecast(spec, builder.corpus_dir(spec))["sft"] == len(rows["sft"])


def test_amplitudes_are_in_metres_per_second_squared_only_where_the_scale_is_told(folder, tmp_path):
    plain, _ = build(tmp_path / "plain", **RECORDED | {"source": str(folder)})
    assert {(row["lineage"]["unit"], " in units, " in prompt(row)) for row in plain["sft"]} == {("units", True)}
    text = (folder / "recordings.toml").read_text(encoding="utf-8")
    (folder / "recordings.toml").write_text(text.replace("fs = ", "scale = 9.80665\nfs = "), encoding="utf-8")
    rows, _ = build(tmp_path / "out", **RECORDED | {"source": str(folder)})
    assert {(row["lineage"]["unit"], " in m/s^2, " in prompt(row)) for row in rows["sft"]} == {("m/s^2", True)}
    before, after = (
        {row["lineage"]["signal"]: float(re.search(r"rms (\S+)", prompt(row))[1]) for row in found["sft"]}
        for found in (plain, rows)
    )
    assert all(after[name] == pytest.approx(9.80665 * before[name], rel=0.02) for name in before)


@pytest.mark.parametrize("scale", ["0", "-1", "true", '"g"', "inf"])
def test_a_scale_that_is_none_is_refused(scale, folder):
    text = (folder / "recordings.toml").read_text(encoding="utf-8")
    (folder / "recordings.toml").write_text(text.replace("fs = ", f"scale = {scale}\nfs = ", 1), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"a\.csv: ValueError: scale"):
        read_recordings(folder)


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "float32"])
def test_whole_numbers_of_a_wav_file_are_shares_of_full_scale(kind, folder):
    wanted = np.sin(np.arange(4096) / 10) * 0.5
    bits = {"uint8": 128, "int16": 2**15, "int32": 2**31, "float32": 1}[kind]
    stored = np.round(wanted * bits + 128 * (kind == "uint8")) if kind != "float32" else wanted
    wavfile.write(folder / "b.wav", 4096, stored.astype(kind))
    found = next(recording for recording in read_recordings(folder) if recording.name == "b.wav")
    assert found.samples == pytest.approx(wanted, abs=0.005) and found.unit == "units"


@pytest.mark.parametrize("copied", ["whole", "a window"])
def test_a_planted_leak_between_loads_stops_the_build(copied, folder, tmp_path):
    samples = np.loadtxt(folder / "a.csv", delimiter=",", skiprows=1).astype(np.float32)[:, 0]
    planted = np.load(folder / "d.npy")
    planted = samples if copied == "whole" else np.concatenate([planted[:2048], samples[1000:3048], planted[4096:]])
    np.save(folder / "d.npy", planted)
    with pytest.raises(RecipeError, match=r"hold test windows(.|\n)*d\.npy@\d+ in a\.csv"):
        build(tmp_path / "out", **RECORDED | {"source": str(folder)})


def test_the_same_load_on_both_sides_is_refused():
    with pytest.raises(ValueError, match="windows are split by load"):
        Spec(train_loads=("0", "2"), test_loads=("2",))


def test_faults_of_a_manifest_are_told_all_at_once(folder):
    text = (folder / "recordings.toml").read_text(encoding="utf-8")
    text = text.replace('label = "inner race fault"', 'label = "chirp"', 1).replace('"6205"', '"6299"', 1)
    text = text.replace('channel = "axial"\n[[recording]]\nfile = "d', 'channel = "z"\n[[recording]]\nfile = "d', 1)
    (folder / "recordings.toml").write_text(text.replace("e.npy", "gone.npy"), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        read_recordings(folder)
    for part in ("b.wav", "'chirp'", "a.csv", "'6299'", "c.npz", "no channel 'z'", "gone.npy"):
        assert part in str(caught.value)


def test_matlab_files_are_read_by_their_names(tmp_path):
    for name, number in (("12k_Drive_End_OR007@6_1_131", 131), ("normal_0_97", 97)):
        samples = np.arange(100.0)[:, None]
        savemat(tmp_path / f"{name}.mat", {f"X{number:03d}_DE_time": samples, f"X{number:03d}RPM": [[1772]]})
    found = {recording.name: recording for recording in read_recordings(tmp_path)}
    outer, normal = found["12k_Drive_End_OR007@6_1_131.mat"], found["normal_0_97.mat"]
    assert (outer.label, outer.load, outer.fs) == ("outer race fault", "1", 12000)
    assert (outer.rpm, outer.bearing, outer.unit) == (1772, "6205", "m/s^2")
    assert outer.samples[:3] == pytest.approx([0, 9.80665, 2 * 9.80665])
    assert (normal.label, normal.load) == ("healthy", "0") and len(normal.samples) == 100


@pytest.mark.skipif(CWRU is None, reason="the bearing recordings are not at ../shared/data/cwru")
def test_cwru_trains_on_two_loads_and_tests_on_the_third(tmp_path):
    rows, card = build(tmp_path, **SMALL | {"source": str(CWRU), "seconds": 1.0})
    loads = {use: {row["lineage"]["source"].split("_")[-2] for row in rows[use]} for use in ("sft", "rl", "test")}
    assert loads == {"sft": {"0", "1"}, "rl": {"0", "1"}, "test": {"2"}}
    taught = {row["lineage"]["class"] for row in rows["sft"]}
    assert taught == {"healthy", "inner race fault", "outer race fault", "ball fault"}
    assert card["notes"] == ["Not in the test, for want of a recording at its loads: healthy."]
    rules = {row["id"]: row["reply"] for row in rows["rules"]}
    right = defaultdict(list)
    for row in of_kind(rows, "type"):
        right[row["answer"]].append(grade(row, rules[row["id"]]))
    assert np.mean(right["inner race fault"]) > 0.9 and np.mean(right["outer race fault"]) > 0.9
