"""What is lost where a run is killed, or its disk is full, at every kind of moment from data to export.

    OMP_NUM_THREADS=1 python -m benchmarks.faults --kills 200 --full 40 --seed 1

A small analogseeker recipe (a random base of two layers, a teacher behind a local endpoint) is run to its report and
exported once in peace. Then the same two commands are given again and again while SIGKILL ends them: in each stage in
turn, one kill by the clock and one at a file operation drawn by seed, until there were enough kills. Then the disk is
full: once at each kind of file that is opened for writing, and, where this user may mount one, on a small file system
that is full after a number of bytes drawn by seed. After each fault the same command is given again.

Told are the training steps made twice, and the longest training time that had to be repeated; replies of the teacher
paid for twice, and of these such as had come a second before a kill (the others were on their way); files of the
results that differ from the run in peace; full disks that were not told in words; processes left behind; and commands
that did not end well although nothing disturbed them, which would have needed a hand.
"""

import argparse
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.faults_child import Fault, Outcome, give_command, preload
from benchmarks.teacher_faults import Endpoint

ROOT = Path(__file__).parents[1]
STAGES = ("data", "sft", "rl", "evaluate", "report", "export")
TABLE = """
[faults]
summary = "small enough to be killed two hundred times"
builder = "analogseeker"

[faults.data]
corpus = "{root}/tests/fixtures/small_corpus"
rl_rows = 16
tests = {{ knowledge = 8, calculation = 0, transfer = 4 }}

[faults.data.teacher]
kind = "openai"
model = "rules"
base_url = "http://127.0.0.1:{port}/v1"
draws = 8
concurrency = 4

[faults.model]
name = "{base}"

[faults.sft]
epochs = 1
batch_tokens = 512
save_steps = 4
log_steps = 1

[faults.rl]
steps = 8
prompts_per_step = 4
group_size = 4
micro_batch = 16
save_steps = 2
max_completion_length = 8
idle_steps = 0
probe_prompts = 4

[faults.eval]
tasks = ["analogseeker_knowledge", "analogseeker_transfer"]
general = []
batch_size = 4
max_new_tokens = 8
infer = {{}}
"""
SAME = ("*.jsonl", "adapter_model.safetensors", "model.safetensors", "scores.json")
PASSING = re.compile(r"training\.jsonl|samples_|/replies/|\.partial")  # hold times, or come in another order


class Place:
    """One folder of results, and what came of the commands given there."""

    def __init__(self, folder: Path, recipe: Path):
        self.folder, self.runs, self.export = folder, folder / "runs", folder / "export"
        common = ["faults", "--file", str(recipe), "--runs", str(self.runs)]
        self.commands = (["run", *common], ["export", *common, "--to", str(self.export)])
        self.outcomes: list[Outcome] = []
        self.by_hand: list[str] = []

    def give(self, fault: Fault | None = None) -> Outcome:
        """Give the commands, the second where the first has ended well."""
        for words in self.commands:
            if words[0] == "export" and self.export.exists():
                break
            outcome = give_command(words, fault)
            self.outcomes.append(outcome)
            if outcome.code:
                break
        if outcome.code and not outcome.hit:
            self.by_hand.append(outcome.text[-2000:])
        return outcome

    def stand_before(self, stage: str, peace: "Place") -> None:
        """Take over what the run in peace had when that stage began, and go no further than the stage."""
        if stage != "data":
            shutil.copytree(peace.runs, self.runs)
        for name in STAGES[STAGES.index(stage) :]:
            for old in (self.runs / "faults" / "embedded").glob(f"{name}*"):
                shutil.rmtree(old)
        if stage == "evaluate":
            shutil.rmtree(self.runs / "replies")
        if stage != "export":
            self.commands = ([*self.commands[0], "--until", stage],)

    def digests(self) -> dict[str, str]:
        """{path: digest} of what has to be the same whatever happened."""
        found = {}
        for top in (self.runs, self.export):
            for pattern in SAME:
                for file in top.rglob(pattern):
                    if not PASSING.search(str(file)):
                        found[str(file.relative_to(self.folder))] = sha256(file.read_bytes()).hexdigest()
        return found


def kill_in_each_stage(
    place: Place, peace: Outcome, stages: Sequence[str], rng: random.Random, left: int
) -> Counter[str]:
    """Kill the commands in each stage in turn, once by the clock and once at a file operation; {stage: kills}."""
    kills: Counter[str] = Counter()
    for stage in stages:
        seconds, operations = peace.seconds.get(stage, 0.1), len(peace.sites.get(stage, [])) or 1
        for fault in (Fault(stage, seconds=rng.uniform(0, seconds)), Fault(stage, operation=rng.randrange(operations))):
            if kills.total() < left and place.give(fault).hit:
                kills[stage] += 1
    while place.give().code and not place.by_hand:
        pass
    return kills


def count_repeated(outcomes: list[Outcome]) -> tuple[int, float]:
    """(training steps made twice, the longest training time in seconds that was repeated after one fault)."""
    steps, longest = 0, 0.0
    for before, after in itertools.pairwise(outcomes):
        for stage, done in before.steps.items():
            started = after.started.get(stage)
            if started is None or not done:
                continue
            again = [moment for step, moment in done if step > started]
            steps += len(again)
            if again:
                longest = max(longest, before.ended - again[0])
    return steps, longest


def paid_twice(log: Path, ends: list[float]) -> tuple[int, int, int]:
    """(replies given, given before, of these such as had come a second or more before the kill that followed)."""
    seen: dict[str, float] = {}
    again = late = total = 0
    for line in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
        total += 1
        if (first := seen.get(line["asked"])) is not None:
            again += 1
            following = min((end for end in ends if end >= first), default=first)
            late += following - first > 1
        seen[line["asked"]] = line["time"]
    return total, again, late


def mount_folder(folder: Path, kilobytes: int) -> bool:
    """Whether a file system of that size could be mounted in `folder`."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "faults", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def fill_disk(
    work: Path, recipe: Path, peace: Outcome, wanted: dict[str, str], chosen: Any, rng: random.Random
) -> None:
    """Full disks at each kind of file, then on a real file system; prints what came of them."""
    before = Place(work / "peace", recipe)
    sites: dict[tuple[str, str], int] = {}
    for stage in chosen.stages:
        for number, name in enumerate(peace.sites.get(stage, [])):
            sites.setdefault((stage, re.sub(r"[0-9a-f]{8}|\d+|tmp\w+", "#", name)), number)
    troubles: Counter[str] = Counter()
    for number, ((stage, name), operation) in enumerate(sites.items()):
        place = Place(work / f"site{number}", recipe)
        place.stand_before(stage, before)
        tell(place, Fault(stage, operation=operation, full=True), wanted, f"{stage}: {name}", troubles)
    print(f"full at each of {len(sites)} kinds of write: {dict(troubles)}", flush=True)
    size = 200 + sum(file.stat().st_size for file in (work / "peace").rglob("*") if file.is_file()) // 1024
    troubles = Counter()
    for number in range(chosen.full):
        place = Place(work / f"small{number}", recipe)
        room = rng.randrange(60, size)
        if not mount_folder(place.folder, room):
            print("no file system could be mounted: not tried on a real full disk")
            return
        grow = ["mount", "-o", f"remount,size={8 * size + 65536}k", str(place.folder)]
        try:
            tell(place, None, wanted, f"{room} kB", troubles, grow)
        finally:
            subprocess.run(["umount", "-l", str(place.folder)], check=True)
    print(
        f"full after a random number of bytes, {chosen.full} file systems of up to {size} kB: {dict(troubles)}",
        flush=True,
    )


def tell(
    place: Place,
    fault: Fault | None,
    wanted: dict[str, str],
    what: str,
    troubles: Counter[str],
    mend: Sequence[str] = (),
) -> None:
    """Meet one full disk, `mend` it by a command, and give the commands again; count and print what went wrong."""
    met = place.give(fault)
    if mend:
        subprocess.run(mend, check=True)
        place.by_hand.clear()  # it was the disk
    found = []
    if met.code and ("Traceback" in met.text or not re.search("disk is full|free some disk space", met.text)):
        found.append("not told in words")
    elif not met.code:
        found.append("no fault met")
    if place.give().code:
        found.append("needed a hand")
    elif any(digest != wanted.get(name) for name, digest in place.digests().items()):
        found.append("another result")
    for name in found or ["told, and the same command went on"]:
        troubles[name] += 1
    if set(found) - {"no fault met"}:
        print(f"  {what}: {', '.join(found)}\n    {met.text[-1500:]}\n    then {place.outcomes[-1].text[-1500:]}")
    if not mend:
        shutil.rmtree(place.folder, ignore_errors=True)


def main() -> None:
    """Run the faults and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument(
        "--full", type=int, default=40, help="small file systems, full after random bytes; 0: no disk is full"
    )
    options.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="where faults happen")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    rng = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        log = work / "asked.jsonl"
        endpoint = Endpoint(log, "--latency", 0.05)
        endpoint.start()
        preload(work / "base")
        recipe = work / "recipes.toml"
        recipe.write_text(TABLE.format(root=ROOT, port=endpoint.port, base=work / "base"), encoding="utf-8")
        try:
            measure(work, recipe, log, chosen, rng)
        finally:
            endpoint.kill()


def measure(work: Path, recipe: Path, log: Path, chosen: Any, rng: random.Random) -> None:
    """The run in peace, the kills and the full disks."""
    place = Place(work / "peace", recipe)
    started = time.monotonic()
    last = place.give()
    if last.code:
        sys.exit(f"the run in peace failed: {last.text}")
    peace = Outcome.join(place.outcomes)
    wanted = place.digests()
    print(
        f"in peace {time.monotonic() - started:.0f} s, {sum(map(len, peace.sites.values()))} file operations;", end=" "
    )
    print(f"{len(wanted)} files compared; steps { ({s: len(d) for s, d in peace.steps.items()}) }", flush=True)
    replies = len(log.read_text(encoding="utf-8").splitlines())
    kills: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    longest, cycle = 0.0, 0
    while kills.total() < chosen.kills:
        log.unlink(missing_ok=True)
        place = Place(work / f"killed{cycle}", recipe)
        kills += kill_in_each_stage(place, peace, chosen.stages, rng, chosen.kills - kills.total())
        steps, time_lost = count_repeated(place.outcomes)
        longest = max(longest, time_lost)
        given, again, late = paid_twice(log, [outcome.ended_wall for outcome in place.outcomes])
        found = place.digests()
        differ = [name for name in wanted if found.get(name) != wanted[name]]
        sums += Counter(steps=steps, given=given, again=again, late=late, differ=len(differ), hand=len(place.by_hand))
        sums += Counter(left=sum(outcome.left for outcome in place.outcomes), unlike=abs(given - again - replies))
        for text in [*place.by_hand, *differ]:
            print(f"  cycle {cycle}: {text}")
        print(f"  cycle {cycle}: {dict(kills)} {dict(sums)} {time.monotonic() - started:.0f} s", flush=True)
        shutil.rmtree(place.folder)
        cycle += 1
    print(f"{kills.total()} kills {dict(kills)} in {cycle} whole runs, seed {chosen.seed}")
    print(f"steps made twice {sums['steps']}, at most {longest:.1f} s of training after one kill")
    print(f"replies {sums['given']}, paid twice {sums['again']}, of these not on their way {sums['late']}")
    print(
        f"files that differ {sums['differ']}; reruns that needed a hand {sums['hand']}; processes left {sums['left']}"
    )
    if chosen.full:
        fill_disk(work, recipe, peace, wanted, chosen, rng)


if __name__ == "__main__":
    main()
