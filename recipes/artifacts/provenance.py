"""Where a result was made: hardware, versions, commit. Found without importing torch or anything else that is heavy."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from recipes.base.cpu import count_cores
from recipes.base.places import ROOT

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "lm_eval", "vllm", "bitsandbytes")


def record(argv, started, finished):
    """What a manifest keeps about the making of its result."""
    commit, dirty = git_state()
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "argv": list(argv),
        "versions": versions(),
        "device": device(),
        "started": started,
        "finished": finished,
    }


def device():
    """The hardware in words, found without torch: processor, cores, and the GPU where one is in use."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass  # not Linux
    return " + ".join([f"{cpu} x {count_cores()}", *gpus()])


def gpus():
    """Names of the NVIDIA GPUs that this process may use."""
    if not Path("/dev/nvidiactl").exists() or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return []
    names = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        names += [
            line.partition(":")[2].strip()
            for line in file.read_text(encoding="utf-8").splitlines()
            if line.startswith("Model")
        ]
    return names or ["NVIDIA GPU"]


def versions():
    """{package: version} of Python and of the libraries that make results, without importing them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state():
    """(commit, whether the tree differs from it) of the checkout; (None, None) outside one."""
    try:
        return ask_git("rev-parse", "HEAD"), bool(ask_git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def ask_git(*words):
    """What git prints for a command in the checkout, stripped."""
    done = subprocess.run(
        ["git", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        timeout=10,
    )
    return done.stdout.strip()
