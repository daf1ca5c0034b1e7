"""How many replies are lost where a teacher answers in every form that servers are known to send.

    python -m benchmarks.teacher_forms --questions 2000 --seed 1

Half of the questions ask for JSON by schema, half for reasoning, solution and answer in tags. Each is answered in one
of the forms of tests/helpers/reply_forms.py, drawn by seed; a share of the requests fails in passing too (429, 500, cut
connections, bad bodies). Told are the records kept of those whose answer was there, replies that the endpoint gave and
the store does not hold (*lost*), and requests of a second run (*asked again*).
"""

import argparse
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path

from data_builders.analogseeker.agents import answer_chat
from data_builders.analogseeker.protocol import Request
from data_builders.llm.chat import Answer, Chat
from tests.helpers.reply_forms import FORMS, LOST, TAKEN
from tests.helpers.served import ask, chat, served
from tests.helpers.teacher_server import Server

FAULTS = ("429", "500", "503", "cut", "garbage body")
NODE = {"id": "i", "title": "Mirrors", "text": "A mirror copies the current of its input to its output at a set ratio."}


def make_questions(count: int) -> list[Chat]:
    """So many questions, by turns in JSON and in tags."""
    request = Request("n", "f", "limits", "open", 0, 0, "sft", NODE, None, 0)
    tagged = (answer_chat(request, "m", f"What is copied in case {n}?", None) for n in range(count))
    return [chat(n) if n % 2 else question for n, question in enumerate(tagged)]


def main() -> None:
    """Run the questions twice and print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--questions", type=int, default=2000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--faults", type=float, default=0.1)
    chosen = options.parse_args()
    server = Server(faults=chosen.faults, seed=chosen.seed, only=FAULTS, forms=tuple(FORMS))
    questions = make_questions(chosen.questions)
    forms = [server.form({"messages": question.messages, "seed": question.draw}) for question in questions]
    with tempfile.TemporaryDirectory() as folder, served(server) as url:
        path = Path(folder) / ".replies.sqlite"
        limits = {"timeout": 60.0, "patience": 120.0}
        answers, asker = ask(url, path, questions, **limits)
        seen, given = len(server.lines), server.done
        again, _ = ask(url, path, questions, **limits)
        with sqlite3.connect(path) as db:
            stored = db.execute("SELECT count(*) FROM replies").fetchone()[0]
    report(list(zip(forms, answers, strict=True)), again == answers)
    print(f"failures in passing {seen - given}, replies given {given}, of these lost {given - stored}")
    print(f"asked again by a second run {len(server.lines) - seen}; counts {asker.all_counts()}")


def report(made: list[tuple[str, Answer]], same: bool) -> None:
    """Print for each form how many records were kept, and the reasons of those dropped."""
    for name in FORMS:
        own = [answer for form, answer in made if form == name]
        dropped = dict(Counter(answer.dropped for answer in own if answer.dropped))
        print(f"{name:32} {len(own):5} {sum(not answer.dropped for answer in own):5} {dropped or ''}")
    there = [answer for form, answer in made if form in TAKEN]
    kept = sum(answer.dropped is None for answer in there)
    lost = [answer for form, answer in made if form in LOST]
    print(f"answer there {len(there)}, kept {kept} ({kept / len(there):.1%}); no answer {len(lost)}, ", end="")
    print(f"dropped with a reason {sum(answer.dropped is not None for answer in lost)}")
    print(f"the second run gives the same answers: {same}")


if __name__ == "__main__":
    main()
