"""Whether anything is lost or paid for twice where both ends are killed again and again.

    python -m benchmarks.teacher_faults --kills 10 --seed 1

A build of analogseeker on a corpus (default: the textbook shipped) asks a local endpoint that fails by seed (429 with
Retry-After, 500, hung and cut connections, bad bodies, unusable and endless replies). The builder is killed with
`kill -9` at random moments, and after every second kill the endpoint is killed too and started again while the builder
runs. At last a run is left to end. Its files are compared with those of a build against an endpoint without faults, and
the endpoint's log is counted: a reply is *asked twice* where the same request was answered again, which may happen only
to what was on its way when one end died.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from data_builders.analogseeker.proof import prove

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "tests" / "helpers" / "teacher_server.py"
BUILD = """
import json, sys
from contextlib import contextmanager
from pathlib import Path
from data_builders.analogseeker import builder
from data_builders.analogseeker.spec import Spec

class Bar:
    def advance(self, n=1, note=None):
        pass

@contextmanager
def bar(title, total, unit):
    yield Bar()

spec = Spec.model_validate(json.loads(sys.argv[1]))
out = Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
metrics = builder.build(spec, builder.corpus_dir(spec), out, 42, bar, lambda text: None)
(out / "metrics").write_text(json.dumps(metrics), encoding="utf-8")
"""


class Endpoint:
    """A test endpoint on one port, that can be killed and started again."""

    def __init__(self, log, *options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [sys.executable, str(SERVER), "--port", str(self.port), "--log", str(log), *map(str, options)]

    def start(self):
        self.process = subprocess.Popen(self.command)
        while socket.socket().connect_ex(("127.0.0.1", self.port)):
            time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait()


def builder(port, corpus, out):
    """The builder as a process."""
    teacher = {"kind": "openai", "model": "rules", "base_url": f"http://127.0.0.1:{port}/v1", "draws": 2}
    teacher |= {"timeout": 2.0, "patience": 30.0, "concurrency": 16, "max_reply_bytes": 100_000}
    tests = {"knowledge": 20, "calculation": 0, "transfer": 10}
    spec = {"corpus": corpus, "teacher": teacher, "tests": tests, "rl_rows": 40}
    return subprocess.Popen([sys.executable, "-c", BUILD, json.dumps(spec), str(out)], cwd=ROOT)


def answered(log):
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    passing = ("429", "429 date", "500", "503", "hung", "cut", "garbage body", "schema refused")
    return [line["asked"] for line in lines if line["what"] not in passing], Counter(line["what"] for line in lines)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=10)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--faults", type=float, default=0.1)
    options.add_argument("--corpus", default="shipped")
    chosen = options.parse_args()
    rng = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        clean, faulty = Path(folder, "clean"), Path(folder, "faulty")
        endpoint = Endpoint(Path(folder, "clean.log"))
        endpoint.start()
        assert builder(endpoint.port, chosen.corpus, clean).wait() == 0
        endpoint.kill()
        whole = json.loads((clean / "metrics").read_text(encoding="utf-8"))["teacher"]["replies"]
        log = Path(folder, "faulty.log")
        endpoint = Endpoint(log, "--faults", chosen.faults, "--seed", chosen.seed, "--latency", 0.02, "--hang", 5)
        endpoint.start()
        moments = sorted(rng.randrange(whole) for _ in range(chosen.kills))
        killed = 0
        for number, moment in enumerate(moments):
            process = builder(endpoint.port, chosen.corpus, faulty)
            while process.poll() is None and len(answered(log)[0]) < moment:
                time.sleep(0.02)
            if number % 2:
                endpoint.kill()
                time.sleep(0.2)
                endpoint.start()
                time.sleep(rng.random())
            time.sleep(rng.random() / 2)
            os.kill(process.pid, signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        assert builder(endpoint.port, chosen.corpus, faulty).wait() == 0
        endpoint.kill()
        replies, kinds = answered(log)
        metrics = json.loads((faulty / "metrics").read_text(encoding="utf-8"))
        names = sorted(file.name for file in clean.glob("*.json*"))
        differ = [name for name in names if (clean / name).read_bytes() != (faulty / name).read_bytes()]
        records = prove(faulty)
        print(f"{killed} kills of the builder at work, {chosen.kills // 2} of the endpoint; seed {chosen.seed}")
        print("requests the endpoint saw:", dict(sorted(kinds.items())))
        print(f"replies used {metrics['teacher']['replies']}, {whole} without faults")
        print(
            f"answered {len(replies)}, of these asked twice {len(replies) - len(set(replies))} (on their way at a kill)"
        )
        print(
            f"rows {metrics['sft']} sft, {metrics['rl']} rl, {metrics['test']} test; "
            f"{records} records, each with one fate"
        )
        print(f"files that differ from the build without faults: {differ or 'none'} of {len(names)}")


if __name__ == "__main__":
    main()
