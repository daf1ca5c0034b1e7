"""What a quick command costs: its processor time as a ratio to an interpreter that loads pydantic and nothing else.

Pydantic checks every table, so it is what no command can do without. Processor time, not wall time: other work on
the machine is none of the command's doing. Commands and baseline in turn; the median of each and its smallest.

    python -m benchmarks.quick_commands --rounds 9
"""

import argparse
import resource
import statistics
import subprocess
import sys

from recipes.base.places import ROOT

BASELINE = "interpreter with pydantic"
COMMANDS = {
    BASELINE: ["-c", "from pydantic import BaseModel"],
    **{
        words: ["-m", "recipes", *words.split()]
        for words in ("--help", "run --help", "list", "show analogseeker", "check analogseeker", "doctor")
    },
}


def processor_seconds(words: list[str]) -> float:
    """User and system time of `python …words` in seconds, its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("--rounds", type=int, default=9, help="how often each command runs")
    rounds = reader.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, words in COMMANDS.items():
            seconds[name].append(processor_seconds(words))
    base = statistics.median(seconds[BASELINE])
    print(f"{'command':28} {'median s':>9} {'smallest':>9} {'ratio':>6}")
    for name, times in seconds.items():
        print(f"{name:28} {statistics.median(times):9.2f} {min(times):9.2f} {statistics.median(times) / base:6.2f}")


if __name__ == "__main__":
    main()
