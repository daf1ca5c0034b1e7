"""Fabricates a finished run, shaped as the stages and lm-eval 0.4.13 write one, for the tests of the report.

python tests/helpers/fixtures_report.py DIR      # writes such a run and its report below DIR, to be looked at
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

FAMILIES = ["current mirrors", "differential pairs", "cascodes", "noise", "filters", "oscillators"]
HOSTILE = "<script>alert(1)</script>"
DATE = "2026-11-23T21-04-07.512345"
# probability of a right answer: base, few-shot, sft, rl
SKILL = {
    "analogseeker_knowledge": ("field", 300, (0.27, 0.31, 0.74, 0.73)),
    "analogseeker_calculation": ("field", 300, (0.02, 0.06, 0.66, 0.84)),
    "analogseeker_transfer": ("field", 100, (0.26, 0.30, 0.33, 0.34)),
    "analogseeker_format": ("format", 300, (0.0, 0.4, 0.99, 1.0)),
    "general_arithmetic": ("general", 200, (0.96, 0.95, 0.81, 0.80)),
    "general_knowledge": ("general", 200, (0.71, 0.71, 0.70, 0.70)),
}
MODELS = [("base", "base", 0), ("few-shot", "base", 3), ("sft", "sft", 0), ("rl", "rl", 0)]
SAMPLED = {"sft": 0.55, "rl": 0.81}  # probability of a right answer to a calculation, sampled, on every second item


def fabricate(root: Path, *, skill=SKILL, models=MODELS, logs=True, seed=7, prompt="plain", nodes=48, name="embedded"):
    """Write data, sft, rl and evaluate artefacts below `root/analogseeker/embedded`; returns {stage: folder}."""
    rng = random.Random(seed)
    home = root / "analogseeker" / "embedded"
    stages = [stage for stage in ("data", "sft", "rl") if stage == "data" or any(m[1] == stage for m in models)]
    folders = {stage: home / f"{stage}-{_hash(stage + str(seed))[:8]}" for stage in [*stages, "evaluate"]}
    for stage, folder in folders.items():
        folder.mkdir(parents=True)
        _manifest(folder, stage, seed, name, folders)
    _data(folders["data"], rng, nodes)
    if logs:
        for stage in stages[1:]:
            _lines(folders[stage] / "training.jsonl", _curve(stage, rng))
    _evaluate(folders["evaluate"], skill, models, rng, prompt, nodes)
    return folders


def _manifest(folder: Path, stage: str, seed: int, name: str, folders: dict[str, Path]) -> None:
    earlier = list(folders)[: list(folders).index(stage)]
    inputs = {step: {"stage": folders[step].name, "digest": _hash(folders[step].name), "files": {}} for step in earlier}
    seconds = {"data": 4.2, "sft": 131.0, "rl": 264.0, "evaluate": 88.0}[stage]
    _json(
        folder / "manifest.json",
        {
            "schema": 1,
            "recipe": "analogseeker",
            "profile": "embedded",
            "stage": stage,
            "kind": stage,
            "title": {"sft": "Supervised tuning", "rl": "Reinforcement"}.get(stage, ""),
            "version": 1,
            "fingerprint": _hash(stage + str(seed)),
            "spec": {
                "seed": seed,
                "model": {"name": name, "revision": None, "dtype": "float32"},
                "eval": {"alpha": 0.05, "margin": 0.05},
            },
            "how": ["eval.batch_size"],
            "inputs": inputs | {"model": {"path": name, "digest": _hash(name), "files": {}}},
            "outputs": {},
            "metrics": {"tokens": 410_000, "rows": 2680},
            "seconds": seconds,
            "peak_memory_bytes": 1_430_000_000,
            **({"peak_gpu_bytes": 31_500_000_000} if stage == "rl" else {}),
            "predicted": None if stage == "data" else {"seconds": seconds * 0.9, "memory_bytes": 1_600_000_000},
            "provenance": {
                "git_commit": "1f2e3d4c5b6a79880716253443526170aabbccdd",
                "git_dirty": False,
                "argv": ["recipes", "run", "analogseeker", "--set", "sft.learning_rate=1e-3"],
                "versions": {"python": "3.11.9", "torch": "2.13.0", "trl": "1.16.0", "peft": "0.21.2"},
                "device": "cpu, 2 cores",
                "started": "2026-11-23T20:52:11+00:00",
                "finished": "2026-11-23T21:04:07+00:00",
            },
        },
    )


def _data(folder: Path, rng: random.Random, nodes: int) -> None:
    text = "Two matched transistors carry equal current. " * 8
    _lines(
        folder / "nodes.jsonl",
        [{**_node(i), "number": f"1.{i}", "path": ["Mirrors", f"Node {i}"], "text": text} for i in range(nodes)],
    )
    taught = [(i, draw) for i in range(nodes) if i % 8 != 7 for draw in range(12)]  # every eighth node is held out
    rows = [_sft_row(i, draw) for i, draw in taught]
    _lines(folder / "sft.jsonl", rows)
    kept = ("id", "prompt", "node_id", "fact_id", "family")
    _lines(folder / "rl.jsonl", [{key: row[key] for key in kept} | {"answer": "1 uA"} for row in rows[:200]])
    steps = {
        "sft": {"in": 520, "kept": 504, "dropped": 16, "reasons": {"more than asked for": 16}},
        "rl": {"in": 320, "kept": 200, "dropped": 120, "reasons": {"more than asked for": 120}},
        "nodes": {"in": nodes + 3, "kept": nodes, "dropped": 3, "reasons": {"heading without text": 3}},
        "documents": {"in": 6, "kept": 6, "dropped": 0, "reasons": {}},
        "replies": {"in": 900, "kept": 840, "dropped": 60, "reasons": {"answer too long": 31, "cites a figure": 29}},
    }
    _json(
        folder / "card.json",
        {
            "about": "Question, thinking, solution, answer records from an original textbook of analog circuits.",
            "limits": "Tests recall and short arithmetic.",
            "corpus": "shipped",
            "teacher": {"kind": "expert", "version": 1},
            "rows": {"sft": len(rows), "rl": 200, "test": 700},
            "held_out": [{"node_id": "n007", "title": "Phase margin"}],
            "ledger": steps,
            "flow": [[["replies"], ["sft", "rl"]]],
            "similarity": {
                "threshold": 0.8,
                "compared": 840,
                "bins": [12, 80, 300, 310, 90, 20, *[0] * 7, 4, 9, 6, 5, 4, 0, 0],
            },
            "leaks": {"passed": True},
        },
    )
    counts = {kind: {"pairs": 0, "test_items": 0, "training_rows": 0} for kind in ("exact", "normalised")}
    _json(
        folder / "leaks.json",
        {
            "passed": True,
            "threshold": 0.005,
            "share_13_gram": 0.0014,
            "training_rows": len(rows) + 200,
            "test_items": 700,
            "counts": counts | {"13-gram": {"pairs": 2, "test_items": 1, "training_rows": 2}},
            "examples": [{"kind": "13-gram", "row": "ab12", "item": "cd34", "text": "two <b>matched</b> transistors"}],
            "compared": "question of every test item with prompt and reply of every sft and rl row",
        },
    )


def _sft_row(i: int, draw: int) -> dict:
    value = 2 * draw + 6
    question = f"Mirror {i} has a reference current Iref = {draw + 3} uA. Find the output current."
    reply = f"<think>Iout = Iref * K = {value}</think>\nThe output current is {value} uA.\n<answer>{value} uA</answer>"
    return {
        "id": _hash(f"sft {i} {draw}")[:12],
        "prompt": [{"role": "user", "content": f"{question}\nGive the final answer in <answer> tags."}],
        "completion": [{"role": "assistant", "content": reply}],
        "kind": "calc",
        "fact_id": f"fact-{i}-{draw % 3}",
        "lineage": {"draw": draw, "stance": "analysis"},
        **_node(i),
    }


def _node(i: int) -> dict:
    return {"node_id": f"n{i:03d}", "family": FAMILIES[i % len(FAMILIES)]}


def _curve(stage: str, rng: random.Random) -> list[dict]:
    if stage == "sft":
        return [
            {"step": s, "epoch": s / 60, "loss": 0.12 + 2.4 / (1 + s / 9) + rng.gauss(0, 0.03), "learning_rate": 1e-3}
            for s in range(1, 181, 2)
        ]
    return [
        {
            "step": s,
            "reward": 0.9 - 0.35 / (1 + s / 30) + rng.gauss(0, 0.04),
            "reward_std": 0.3,
            "frac_reward_zero_std": min(0.8, 0.25 + s / 260 + rng.gauss(0, 0.05)),
            "completion_length": 52 + rng.gauss(0, 2),
            "kl": 0.0004 * s,
        }
        for s in range(1, 111)
    ]


PROBES = {
    "drift": {
        "logs": {"kl": ["Distance from the base, KL(tuned ‖ base) on gold replies", "nats per token"]},
        "values": {"kl": {"field": 0.512, "general": 1.25}, "tokens": {"field": 900, "general": 800}},
    },
    "routing": {
        "logs": {
            "information": ["Information of the routers on the kind of text", "nats, mean over layers"],
            "layers": ["Share of a token's weight that each expert gets", "by layer and kind of text"],
        },
        "values": {
            "information": 0.2,
            "layers": {
                f"model.layers.{n}.mlp.up_proj": {"field": [0.3, 0.7], "general": [0.75, 0.25]} for n in range(2)
            },
        },
    },
}


def _evaluate(folder: Path, skill: dict, models: list, rng: random.Random, prompt: str, nodes: int) -> None:
    order = {"base": 0, "few-shot": 1, "sft": 2, "rl": 3}
    tuned = [m for m, stage, shots in models if stage != "base"]
    sampled = [m for m in tuned if m in SAMPLED and "analogseeker_calculation" in skill]
    parents = dict(zip(tuned, ["base", *tuned]))
    plain = [
        {"name": m, "model": s, "num_fewshot": shots, "method": "few_shot" if shots else ""}
        | {"from": parents.get(m, ""), "dir": f"lm_eval/{m}"}
        for m, s, shots in models
    ]
    others = [
        {"name": f"{m} · sampled", "model": m, "num_fewshot": 0, "method": "sampled", "from": parents[m]}
        | {"dir": f"lm_eval/{m}.sampled"}
        for m in sampled
    ]
    _json(
        folder / "models.json",
        {
            "models": plain + others,
            "prompt": "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
            "decoding": "greedy, at most 128 new tokens",
            "tasks": {task: {"kind": kind} for task, (kind, _, _) in skill.items()},
            "probes": {
                label: {"logs": about["logs"], "values": dict.fromkeys(tuned, about["values"])}
                for label, about in PROBES.items()
            },
        },
    )
    for model in sampled:
        n, home = skill["analogseeker_calculation"][1], folder / "lm_eval" / f"{model}.sampled"
        home.mkdir(parents=True)
        drawn = [
            _sample("analogseeker_calculation", "field", i, model, 0, rng.random() < SAMPLED[model], prompt, nodes)
            for i in range(0, n, 2)
        ]
        _lines(home / f"samples_analogseeker_calculation_{DATE}.jsonl", drawn)
        _json(home / f"results_{DATE}.json", _results(skill, 0, {}, sampled=True))
    luck = {task: [rng.random() for _ in range(n)] for task, (_, n, _) in skill.items()}
    node_luck = [rng.gauss(0, 0.12) for _ in range(nodes)]
    for model, _, shots in models:
        home = folder / "lm_eval" / model
        home.mkdir(parents=True)
        hashes = {}
        for task, (kind, n, chances) in skill.items():
            samples = []
            for i in range(n):
                shared = node_luck[i % nodes] if kind in ("field", "format") else 0.0
                draw = 0.75 * luck[task][i] + 0.25 * rng.random()
                right = draw < chances[order[model]] + (shared if 0.1 < chances[order[model]] < 0.9 else 0)
                samples.append(_sample(task, kind, i, model, shots, right, prompt, nodes))
            hashes[task] = _hash("".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in samples))
            if samples:
                _lines(home / f"samples_{task}_{DATE}.jsonl", samples)
        _json(home / f"results_{DATE}.json", _results(skill, shots, hashes))


def _sample(task: str, kind: str, i: int, model: str, shots: int, right: bool, prompt: str, nodes: int) -> dict:
    """One line of samples_*.jsonl with the fields of lm_eval.result_schema.SampleResult."""
    if kind == "general":
        gold, wrong = str(2 * i + 3), str(2 * i + 4)
        doc = {"question": f"What is {i} + {i + 3}?", "answer": gold}
    else:
        node = i % nodes
        gold, wrong = f"{6 * (i % 17) + 12} uA", f"{6 * (i % 17) + 11} uA"
        question = f"A mirror has Iref = {i % 17 + 2} uA and K = 6, and Vgs < Vdd & {HOSTILE}. Find the output current."
        doc = {
            "id": _hash(f"{task} {i}")[:12],
            "prompt": [{"role": "user", "content": question + "\nGive the final answer in <answer> tags."}],
            "answer": gold,
            "reply": f"<answer>{gold}</answer>",
            "kind": "calculation",
            "fact_id": f"fact-{node}-{i % 3}",
            **_node(node),
        }
    value = gold if right else wrong
    reply = f"<think>Iout = Iref * K = {value}</think>\nThe output current is {value}.\n<answer>{value}</answer>"
    if model == "base" and not right:
        reply = "The answer is | `12`\nThe answer is 12. " * 3
    rendered = f"{prompt} {shots} " + json.dumps(doc.get("prompt", doc.get("question")))
    return {
        "doc_id": i,
        "doc": doc,
        "target": gold,
        "arguments": {"gen_args_0": {"arg_0": rendered, "arg_1": {"until": ["<|im_end|>"], "do_sample": False}}},
        "resps": [[reply]],
        "filtered_resps": [reply],
        "filter": "none",
        "metrics": ["acc", "parsed"],
        "doc_hash": _hash(json.dumps(doc)),
        "prompt_hash": _hash(rendered),
        "target_hash": _hash(gold),
        "acc": 1.0 if right else 0.0,
        "parsed": float(model != "base" or right),
    }


def _results(skill: dict, shots: int, hashes: dict, sampled: bool = False) -> dict:
    return {
        "results": {},
        "configs": {t: {"task": t, "generation_kwargs": {"until": [], "do_sample": sampled}} for t in skill},
        "versions": dict.fromkeys(skill, 1),
        "n-shot": dict.fromkeys(skill, shots),
        "n-samples": {t: {"original": n, "effective": n} for t, (_, n, _) in skill.items()},
        "config": {"model": "hf", "batch_size": 64, "limit": None, "random_seed": 0},
        "git_hash": "1f2e3d4",
        "date": 1_795_467_847.5,
        "lm_eval_version": "0.4.13",
        "transformers_version": "5.23.0",
        "task_hashes": hashes,
        "model_source": "CUSTOM",
        "model_name": "embedded",
        "total_evaluation_time_seconds": "21.4",
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def _lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).parents[2]))
    from recipes.report.build import write_report
    from recipes.report.leaderboard import write_leaderboard

    where = Path(sys.argv[1])
    folders = fabricate(where / "runs")
    write_report(folders, folders["evaluate"].parent / "report", {"summary": "A fabricated run, to look at the page."})
    fabricate(where / "more", seed=8, name="Qwen/Qwen3-0.6B", prompt="other")
    (where / "more" / "analogseeker" / "embedded").rename(where / "runs" / "analogseeker" / "gpu")
    write_leaderboard(where / "runs", where / "runs" / "leaderboard")
