"""Reading of documents in pages per second: PDF and Markdown to learning nodes, in one process and in all cores.

Both corpora are generated: a page is 400 words, the PDF has two columns, running heads, page numbers and divided words.
Baselines for PDF are the plain text extraction of pypdf and pdfminer.six, which find no columns, heads or sections;
they are left out where they are not installed. Arms take turns; medians are printed, with pages in and nodes out.

    python -m benchmarks.documents --pages 400 --rounds 3
"""

import argparse
import importlib
import random
import statistics
import tempfile
import time
from pathlib import Path

from data_builders.core.ledger import Ledger
from data_builders.sources.reader import read_corpus
from recipes.base.cpu import count_cores
from tests.helpers.pdf_files import BOLD, column, pdf

SEED = 7
WORDS = 400  # of a page
BOOK = 100  # pages of one file
SYLLABLES = (
    "am",
    "pli",
    "fi",
    "er",
    "cur",
    "rent",
    "mir",
    "ror",
    "noise",
    "gain",
    "load",
    "bi",
    "as",
    "vol",
    "tage",
    "to",
)


def word(rng):
    return "".join(rng.choices(SYLLABLES, k=rng.choice((1, 2, 2, 3))))


def markdown_page(rng, number):
    words = [word(rng) for _ in range(WORDS)]
    sentences = [" ".join(words[start : start + 16]).capitalize() + "." for start in range(0, WORDS, 16)]
    sentences[3] += " The gain is $g_\\mathrm{m} R_\\mathrm{out}$, see @fig-x."
    return (
        f"## {number}.1 Section {number}\n\n"
        + "\n\n".join(" ".join(sentences[i : i + 5]) for i in range(0, 25, 5))
        + "\n\n"
    )


def pdf_page(rng, number):
    lines, line = [], ""
    for text in (word(rng) for _ in range(WORDS)):
        if len(line) + len(text) > 42:
            cut = len(text) // 2
            lines.append(line + text[:cut] + "-" if cut > 1 else line)
            line = (text[cut:] if cut > 1 else text) + " "
        else:
            line += text + " "
    half = len(lines) // 2
    return [
        (50, 810, 8, "A generated book about circuits"),
        (290, 30, 9, str(number)),
        (50, 770, 14, f"{number}.1 Section {number}", BOLD),
        *column(50, 740, lines[:half]),
        *column(310, 740, lines[half:]),
    ]


def make(folder, pages):
    """Two corpora of so many pages below a folder: md and pdf."""
    rng = random.Random(SEED)
    for start in range(0, pages, BOOK):
        numbers = range(start + 1, min(start + BOOK, pages) + 1)
        for kind in ("md", "pdf"):
            (folder / kind).mkdir(exist_ok=True)
        (folder / "md" / f"{start:06d}.md").write_text(
            "# Book\n\n" + "".join(markdown_page(rng, n) for n in numbers), encoding="utf-8"
        )
        (folder / "pdf" / f"{start:06d}.pdf").write_bytes(pdf([pdf_page(rng, n) for n in numbers]))


def ours(folder, workers):
    return len(read_corpus(folder, 30, 10_000, Ledger(), workers=workers).nodes)


def pypdf(folder, _):
    reader = importlib.import_module("pypdf").PdfReader
    return sum(len(page.extract_text()) > 0 for file in sorted(folder.glob("*.pdf")) for page in reader(file).pages)


def pdfminer(folder, _):
    extract = importlib.import_module("pdfminer.high_level").extract_text
    return sum(extract(file).count("\f") for file in sorted(folder.glob("*.pdf")))


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--pages", type=int, default=200, help="pages of each corpus (default: 200)")
    options.add_argument("--rounds", type=int, default=3, help="turns of every arm (default: 3)")
    options = options.parse_args()
    arms = [
        (kind, f"this project, {n} process{'es' * (n > 1)}", ours, n)
        for kind in ("md", "pdf")
        for n in {1, count_cores()}
    ]
    for name, module, function in (("pypdf", "pypdf", pypdf), ("pdfminer.six", "pdfminer.high_level", pdfminer)):
        try:
            importlib.import_module(module)
            arms.append(("pdf", f"{name}, text only", function, 1))
        except ImportError:
            print(f"{name} is not installed: left out")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, options.pages)
        seconds, found = {arm: [] for arm in arms}, {}
        for _ in range(options.rounds):
            for arm in arms:
                kind, _, function, workers = arm
                started = time.perf_counter()
                found[arm] = function(folder / kind, workers)
                seconds[arm].append(time.perf_counter() - started)
    print(f"{options.pages} pages of {WORDS} words, {options.rounds} rounds, start of the processes included")
    for arm in arms:
        rate = options.pages / statistics.median(seconds[arm])
        spread = ", ".join(f"{options.pages / each:,.0f}" for each in seconds[arm])
        print(f"{arm[0]:<4} {arm[1]:<32} {rate:8,.0f} pages/s  ({spread})  {found[arm]:,} nodes or pages")


if __name__ == "__main__":
    main()
