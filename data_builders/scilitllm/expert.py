"""The expert teacher of the laboratory world: every kind of synthetic row by rule, offline, true by construction.

It answers the same requests as a model with the same JSON. Its texts speak of substances that are in no report, one
half of the names for training and the other for tests; two of the keywords that were drawn stand in each text as a side
remark. It knows nothing of the corpus.
"""

import random

from data_builders.core.schema import order
from data_builders.scilitllm.reports import templates

GROUPS = ("O", "N", "S", "F", "I", "Cl", "Br")
CHAINS = range(2, 8)  # carbon atoms
TESTED = 3  # of so many chains one is kept for tests


class Expert:
    """Writes for `substances`, the names that the corpus speaks of and that it therefore leaves alone."""

    name = "expert"

    def __init__(self, taken):
        tables = templates()
        names = [(start + end).capitalize() for start in tables["starts"] for end in tables["ends"]]
        free = sorted((name for name in names if name not in taken), key=lambda name: order("names", name))
        self.names = {"sft": free[::2], "test": free[1::2]}
        self.attributes = tables["attribute"]

    def write(self, job):
        """The reply to a job as a JSON object."""
        rng = random.Random(f"{job.id}")
        return getattr(self, f"_{job.task}")(job, rng)

    def _facts(self, job, rng, count):
        """So many (name, attribute, value) of different substances and one attribute each."""
        names = rng.sample(self.names[job.split], count)
        chosen = [rng.choice(self.attributes) for _ in names]
        return [(name, one, rng.choice(one["values"])) for name, one in zip(names, chosen)]

    def _aside(self, job, rng):
        first, second = rng.sample(sorted({word for word in job.keywords}), 2)
        return f"The notes speak of {first} and {second}."

    def _text(self, job, rng, sentences):
        sentences = [*sentences, self._aside(job, rng)]
        rng.shuffle(sentences)
        return " ".join(sentences)

    def _table_extraction(self, job, rng):
        rows = [
            (name, rng.randint(2, 60), rng.randint(20, 400))
            for name in rng.sample(self.names[job.split], rng.randint(2, 3))
        ]
        forms = ("{n} had {a} g at {b} C.", "At {b} C the mass of {n} was {a} g.", "{n} of {a} g was held at {b} C.")
        text = self._text(job, rng, [rng.choice(forms).format(n=n, a=a, b=b) for n, a, b in rows])
        rows.sort(key=lambda row: text.index(row[0]))
        answer = "; ".join(f"{n} {a} g {b} C" for n, a, b in rows)
        question = rng.choice(("Make a table of mass and heat:", "List name, mass and heat:"))
        return written(text, question, "I read the rows one by one.", answer)

    def _entity_extraction(self, job, rng):
        facts = self._facts(job, rng, rng.randint(2, 4))
        text = self._text(job, rng, [stated(rng, *fact) for fact in facts])
        answer = "; ".join(sorted((name for name, _, _ in facts), key=text.index))
        question = rng.choice(("List the substances:", "Name every substance:"))
        return written(text, question, "I read the names one by one.", answer)

    def _multiple_choice(self, job, rng):
        facts = self._facts(job, rng, 3)
        name, attribute, value = facts[0]
        wrong = rng.sample([other for other in attribute["values"] if other != value], 3)
        text = self._text(job, rng, [stated(rng, *fact) for fact in facts])
        question = rng.choice(attribute["questions"]).format(n=name)
        reason = attribute["statement"].format(n=name, v=value)
        return written(text, question, reason, value) | {"options": [value, *wrong]}

    def _T_F(self, job, rng):
        facts = self._facts(job, rng, 3)
        name, attribute, value = facts[0]
        right = rng.random() < 0.5
        claimed = value if right else rng.choice([other for other in attribute["values"] if other != value])
        reason = attribute["statement"].format(n=name, v=value)
        text = self._text(job, rng, [reason, *(stated(rng, *fact) for fact in facts[1:])])
        claim = attribute["statement"].format(n=name, v=claimed)
        return written(text, f"True or false: {claim}", reason, "true" if right else "false")

    def _chains(self, job):
        """[(carbon atoms, end)] that the job's split may ask for."""
        pairs = sorted(((length, group) for length in CHAINS for group in GROUPS), key=lambda p: order("chain", p))
        return [pair for place, pair in enumerate(pairs) if (place % TESTED == 0) == (job.split == "test")]

    def _molGen_wocontext(self, job, rng):
        """There are few such questions, so they are taken in turn, not drawn."""
        chains, forms = self._chains(job), ("SMILES of {c} carbons, end {g}:", "SMILES: end {g}, {c} carbons")
        length, group = chains[job.draw % len(chains)]
        form = forms[job.draw // len(chains) % len(forms)]
        return molecule("", form.format(g=group, c=length), length, group)

    def _molGen_wcontext(self, job, rng):
        names = rng.sample(self.names[job.split], 2)
        chains = [rng.choice(self._chains(job)) for _ in names]
        forms = ("{n} is a chain of {c} carbons with {g} at the end.", "{n} has {c} carbons and ends in {g}.")
        said = [rng.choice(forms).format(n=n, c=c, g=g) for n, (c, g) in zip(names, chains)]
        return molecule(self._text(job, rng, said), f"SMILES of {names[0]}:", *chains[0])


def written(text, question, reasoning, answer):
    return {"text": text, "question": question, "reasoning": reasoning, "answer": answer}


def molecule(text, question, length, group):
    chain = "C" * length
    return written(text, question, f"{length} carbons are {chain}, the end is {group}.", chain + group)


def stated(rng, name, attribute, value):
    return rng.choice(attribute["statements"]).format(n=name, v=value)
