"""Predicted against measured peak memory of stages on a CPU.

python -m benchmarks.memory [FOLDER]     # a Markdown table; every setting in a process of its own, some minutes in all

Each setting is forked from one process that has imported the libraries, so that its peak is that of a `run` of that
stage alone.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from recipes.artifacts.machine import find_machine
from recipes.artifacts.memory import estimate_recipe
from recipes.artifacts.steps import prepare
from recipes.base.cpu import wait_passively
from recipes.base.durations import format_size
from recipes.base.memory import PeakMemory
from recipes.base.places import LAB_MODEL, ROOT
from recipes.base.runtime import Runtime
from recipes.config.load import load

DATA = ["data.sft_rows=200", "data.rl_rows=16", "data.tests={knowledge=48,calculation=8,transfer=8}"]
EVAL = ['eval.tasks=["analogseeker_knowledge"]', "eval.general=[]", "eval.infer={}"]
PLAIN = ["sft.losses={}", "sft.epochs=1", "rl.steps=1", "rl.probe_prompts=0", *DATA, *EVAL]
SETTINGS = [  # name, step, base, settings
    ("sft, LoRA r 32, 1,024 tokens a step", "sft", "lab", []),
    ("sft, LoRA r 32, 4,096 tokens a step", "sft", "lab", ["sft.batch_tokens=4096"]),
    ("sft, full, 1,024 tokens", "sft", "lab", ["sft.adapter={use='full'}"]),
    (
        "sft, LoRAMoE 6 x r 8, 2,048 tokens",
        "sft",
        "lab",
        ["sft.adapter={use='loramoe',rank=8}", "sft.batch_tokens=2048"],
    ),
    ("sft, LoRA r 64, 4,096 tokens", "sft", "wide", ["sft.adapter.rank=64", "sft.batch_tokens=4096"]),
    ("sft, full, 2,048 tokens", "sft", "wide", ["sft.adapter={use='full'}", "sft.batch_tokens=2048"]),
    (
        "sft, full, KL to the reference, 2,048 tokens",
        "sft",
        "wide",
        ["sft.adapter={use='full'}", "sft.batch_tokens=2048", "sft.losses={kl_to_reference={weight=0.1}}"],
    ),
    ("rl, GRPO, 64 replies, passes of 32", "rl", "lab", []),
    (
        "rl, GRPO, every weight, 64 replies, passes of 16",
        "rl",
        "wide",
        ["sft.adapter={use='full'}", "rl.micro_batch=16"],
    ),
    ("evaluate, 48 prompts a batch", "evaluate", "lab", []),
    ("evaluate, 48 prompts a batch", "evaluate", "wide", []),
]


def write_wide(folder: Path) -> Path:
    """A random base of two layers, four times as wide as the embedded one, with its tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shutil.copytree(LAB_MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = AutoConfig.from_pretrained(
        LAB_MODEL, hidden_size=1024, intermediate_size=2816, num_attention_heads=16, num_key_value_heads=4
    )
    config.num_hidden_layers, config.layer_types = 2, config.layer_types[:2]
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def measure(prepared: Any, inputs: Any, out: Path) -> int:
    """Peak bytes of a step in a child process; its folder is kept."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            out.mkdir(parents=True)
            with PeakMemory() as memory, open(os.devnull, "w", encoding="utf-8") as nowhere:
                prepared.step.module.run(prepared.spec, inputs, out, Runtime(nowhere))
            (out / "peak.json").write_text(json.dumps(memory.bytes))
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"a step failed: {out}")
    return json.loads((out / "peak.json").read_text())


def main(home: Path) -> None:
    """Print the table."""
    import trl
    from lm_eval.tasks import TaskManager  # noqa: F401  imported once, for all children

    from recipes.models import lm_eval_run, sft_trainer, training  # noqa: F401

    trl.GRPOTrainer, trl.GRPOConfig  # noqa: B018  TRL imports on first use
    bases = {"lab": "embedded"}
    if os.fork() == 0:  # threads that a computation starts do not survive a fork
        write_wide(home / "wide")
        os._exit(0)
    os.wait()
    bases["wide"] = str(home / "wide")
    machine, done = find_machine(), {}
    print("| base | setting | predicted | measured | off |\n|---|---|---|---|---|", flush=True)
    for number, (title, step, base, sets) in enumerate(SETTINGS):
        recipe = load(ROOT / "recipes.toml", "analogseeker", "embedded", [f"model.name={bases[base]}", *PLAIN, *sets])
        steps = {one.name: one for one in prepare(recipe)}
        if "data" not in done:
            measure(steps["data"], steps["data"].inputs({}), home / "data")
            done["data"] = home / "data"
        given = {"data": done["data"]} | ({"sft": done["sft"]} if base == "lab" and step != "sft" else {})
        peak = measure(steps[step], steps[step].inputs(given), home / f"{number}")
        if number == 0:
            done["sft"] = home / "0"
        expected = estimate_recipe(recipe, machine)[step].total
        off = f"{expected / peak - 1:+.0%}"
        print(f"| {base} | {title} | {format_size(expected)} | {format_size(peak)} | {off} |", flush=True)


if __name__ == "__main__":
    wait_passively()
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
