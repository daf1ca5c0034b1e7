"""How fast a training step is beside other processes, as this project sets threads and as torch does by itself.

A loop of the embedded base's shapes (forward, backward, float32) runs in a process of its own: free, and beside busy
processes, one and two a core. "as torch does": spinning threads, one a core. "passive": threads that wait without
spinning. "ours": passive, and one thread for each core that the others leave. Figures are ratios to the free machine.

    python -m benchmarks.busy_machine --seconds 8
"""

import argparse
import os
import subprocess
import sys
import time

from recipes.base.cpu import WAITING, count_cores

SPIN = "while True: pass"
LOOP = """
import sys, time
ours, seconds = sys.argv[1] == "ours", float(sys.argv[2])
if ours:
    from recipes.base.cpu import choose_threads
    choose_threads()
import torch
if ours:
    choose_threads()
torch.manual_seed(0)
layers = [
    torch.nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True) for _ in range(4)
]
model = torch.nn.Sequential(*layers, torch.nn.Linear(256, 4096))
x, y = torch.randn(16, 128, 256), torch.randint(0, 4096, (16 * 128,))
def step():
    torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y).backward()
step()
steps, began = 0, time.monotonic()
while time.monotonic() - began < seconds:
    step()
    steps += 1
print(steps / (time.monotonic() - began), torch.get_num_threads())
"""


def measure_rate(way: str, seconds: float) -> tuple[float, int]:
    """(steps a second, threads) of the loop in a new process."""
    clean = {key: value for key, value in os.environ.items() if key not in WAITING and key != "OMP_NUM_THREADS"}
    given = clean if way == "as torch does" else clean | WAITING
    done = subprocess.run(
        [sys.executable, "-c", LOOP, "ours" if way == "ours" else "", str(seconds)],
        env=given,
        capture_output=True,
        text=True,
        check=True,
    )
    rate, threads = done.stdout.split()
    return float(rate), int(threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    args = parser.parse_args()
    cores = count_cores()
    free, _ = measure_rate("as torch does", args.seconds)
    print(f"{cores} cores; free: {free:.2f} steps/s\n{'others':>8}{'as torch does':>16}{'passive':>16}{'ours':>16}")
    for others in (0, cores, 2 * cores):
        busy = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(others)]
        try:
            time.sleep(1)
            cells = [measure_rate(way, args.seconds) for way in ("as torch does", "passive", "ours")]
        finally:
            for process in busy:
                process.kill()
        print(f"{others:>8}" + "".join(f"{f'{rate / free:.2f} ({threads})':>16}" for rate, threads in cells))


if __name__ == "__main__":
    main()
