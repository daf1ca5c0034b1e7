"""The laboratory world: invented substances, and reports on them, good, damaged and bad, for the embedded profile.

Everything follows from the templates of world/reports.toml and a seed, so that what is true is known by construction. A
*report* states the facts of one substance. A *scan* is a report as bad optical recognition leaves it: words cut at line
ends, ligatures, wide spaces. *Hearsay* states other values in careless prose, *boilerplate* states nothing, and
*garble* is a report whose letters are out of order.
"""

import random
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from recipes.base.hashing import stable_id
from recipes.base.jsonl import encode_json

FOLDER = Path(__file__).parent / "world"
REPORTS = "reports.toml"
DOMAINS_AS = {"minerals": "md", "dyes": "tex", "gels": "jsonl"}


@dataclass(frozen=True)
class Substance:
    """`facts` maps an attribute's name to the substance's value."""

    name: str
    domain: str
    facts: dict[str, str]

    @property
    def id(self):
        return stable_id("substance", self.name)


@dataclass(frozen=True)
class Report:
    """One document: what it is (report, scan, hearsay, boilerplate, garble), its title and text."""

    kind: str
    substance: Substance
    title: str
    text: str


@cache
def templates(folder=FOLDER):
    """The tables of reports.toml, read once."""
    return tomllib.loads((folder / REPORTS).read_text(encoding="utf-8"))


def substances(count, seed):
    """So many substances with values drawn evenly; domains take turns."""
    tables, rng = templates(), random.Random(f"substances {seed}")
    names = [start + end for start in tables["starts"] for end in tables["ends"]]
    columns = {}
    for attribute in tables["attribute"]:
        values = attribute["values"] * -(-count // len(attribute["values"]))
        rng.shuffle(values)
        columns[attribute["name"]] = values
    return [
        Substance(
            name.capitalize(),
            tables["domains"][number % len(tables["domains"])],
            {attribute: values[number] for attribute, values in columns.items()},
        )
        for number, name in enumerate(rng.sample(names, count))
    ]


def reports(known, spec, seed):
    """The documents on these substances: `spec.reports` good ones on each, and the stated shares of bad ones among all.

    Every third good one is a scan.
    """
    rng = random.Random(f"reports {seed}")
    made = [
        scanned(good, rng) if number % 3 == 2 else good
        for substance in known
        for number in range(spec.reports)
        for good in [report(substance, number, rng)]
    ]
    makers = {"hearsay": hearsay, "boilerplate": boilerplate, "garble": garble}
    whole = len(made) / (1 - sum(getattr(spec, kind) for kind in makers))
    for kind, maker in makers.items():
        count = round(whole * getattr(spec, kind))
        pool = [substance for _ in range(-(-count // len(known))) for substance in rng.sample(known, len(known))]
        made += [maker(substance, rng) for substance in pool[:count]]
    rng.shuffle(made)
    return made


def report(substance, number, rng):
    """A good report: every fact in the wording of that number, in an order of its own."""
    tables = templates()
    prose = tables["prose"]
    facts = [
        attribute["statements"][(number + place) % len(attribute["statements"])].format(
            n=substance.name, v=substance.facts[attribute["name"]]
        )
        for place, attribute in enumerate(tables["attribute"])
    ]
    rng.shuffle(facts)
    method = rng.choice(prose["methods"]).format(a=rng.randint(2, 60), b=rng.randint(20, 400))
    facts.insert(rng.randint(1, len(facts)), method)
    opening, closing = rng.choice(prose["openings"]).format(n=substance.name), rng.choice(prose["closings"])
    title = rng.choice(prose["titles"]).format(n=substance.name)
    return Report("report", substance, title, " ".join([opening, *facts, closing]))


def scanned(good, rng):
    """The report as a careless scan leaves it: long words cut at line ends, ligatures, wide spaces."""
    pieces = []
    for word in good.text.split(" "):
        if len(word) > 5 and word[1:-1].isalpha() and rng.random() < 0.4:
            cut = rng.randint(3, len(word) - 3)
            word = f"{word[:cut]}-\n{word[cut:]}"
        pieces.append(word.replace("fi", "\ufb01").replace("fl", "\ufb02") + " " * (rng.random() < 0.1))
    return Report("scan", good.substance, good.title, " ".join(pieces))


def hearsay(substance, rng):
    """Careless prose that states a wrong value for every attribute."""
    tables = templates()
    bad, parts = tables["bad"], []
    for attribute in tables["attribute"]:
        wrong = rng.choice([value for value in attribute["values"] if value != substance.facts[attribute["name"]]])
        stated = rng.choice(attribute["statements"]).format(n=substance.name, v=wrong)
        parts.append(f"{stated.rstrip('.')} {rng.choice(bad['exclaim'])}")
    rng.shuffle(parts)
    opening = rng.choice(bad["hearsay"]).format(n=substance.name)
    return Report("hearsay", substance, f"some talk about {substance.name}", " ".join([opening, *parts]))


def boilerplate(substance, rng):
    """What surrounds a page on the web."""
    lines = rng.sample(templates()["bad"]["boilerplate"], 3)
    return Report("boilerplate", substance, f"{substance.name} page", " ".join(lines))


def garble(substance, rng):
    """A report whose words lost the order of their letters."""
    good = report(substance, rng.randrange(6), rng)
    words = ["".join(rng.sample(word, len(word))) if rng.random() < 0.7 else word for word in good.text.split()]
    return Report("garble", substance, good.title, " ".join(words))


def write(made, folder):
    """The documents as a corpus: a folder for each domain, in Markdown, LaTeX and JSON lines."""
    for domain, suffix in DOMAINS_AS.items():
        (folder / domain).mkdir(parents=True)
        own = [(number, one) for number, one in enumerate(made) if one.substance.domain == domain]
        text = "".join(WRITERS[suffix](number, one) for number, one in own)
        if suffix == "tex":
            text = f"\\documentclass{{article}}\n\\begin{{document}}\n{text}\\end{{document}}\n"
        (folder / domain / f"reports.{suffix}").write_text(text, encoding="utf-8")


WRITERS = {
    "md": lambda number, one: f"# {one.title}, number {number}\n\n{one.text}\n\n",
    "tex": lambda number, one: f"\\section{{{one.title}, number {number}}}\n{one.text}\n\n",
    "jsonl": lambda number, one: encode_json({"title": f"{one.title}, number {number}", "text": one.text}) + "\n",
}
