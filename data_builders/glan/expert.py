"""The expert: a rule-based teacher that answers the whole protocol from its bank, in the place of a model's endpoint.

It gets the same prompts and gives replies of the same form: subjects in free text and as JSON lines, syllabuses in free
text and as JSON, a question for a concept set, and an answer for which it is shown the question alone. Wording and
numbers of a question follow from the seed that the request carries.
"""

import json
import random
import re
from functools import cache

from data_builders.core import arithmetic
from data_builders.core.wording import join_words, write_givens
from data_builders.glan import wordings
from data_builders.glan.solving import Solver
from data_builders.llm.asking import Asker
from data_builders.llm.chat import Raw
from data_builders.llm.choices import CHOICES
from data_builders.llm.endpoint import Rejected
from data_builders.llm.store import Store
from recipes.base.reply_form import Exchange, render_prompt

VERSION = 2  # raise it when a question gets another reply: replies are stored under it
NUMERIC = 0.75  # share of the questions on a concept with a formula that compute
NOTED = 0.3  # share of the training questions that bring the facts that they need


def open_expert(bank, table, path, say):
    """An `Asker` whose replies come from the bank. They are stored like a model's, under the bank's digest."""
    return Asker(lambda: Expert(bank), Store(path), table, say, f"expert/{VERSION}@{bank.identity}")


class Expert:
    """A source of replies, as `teacher.endpoint.Endpoint` is one."""

    def __init__(self, bank):
        self.bank, self.solver = bank, Solver(bank)

    async def close(self):
        pass

    async def complete(self, chat):
        """The `Raw` reply. Raises Rejected for what the bank does not hold."""
        say = {
            "subjects": self._subjects,
            "subjects jsonl": self._jsonl,
            "syllabus": self._syllabus,
            "extract": self._extract,
            "question": self._question,
            "checked": self._checked,
            "answer": lambda chat: self.solver.answer(chat.user),
        }[chat.agent]
        text = say(chat)
        if text is None:
            raise Rejected("the bank does not hold this")
        return Raw(text)

    def _subjects(self, chat):
        chapter = self.bank.chapters.get(_told("Discipline", chat.user))
        if chapter is None:
            return None
        lines = [
            f"{number}. {subject.name} ({subject.level}). Subtopics: {', '.join(subject.subtopics)}."
            for number, subject in enumerate(chapter.subject, 1)
        ]
        return "\n".join([f"To master {chapter.discipline.lower()}, study these subjects.", *lines])

    def _jsonl(self, chat):
        found = re.findall(r"^\d+\. (.*) \((.*)\)\. Subtopics: (.*)\.$", chat.earlier[-1][1], re.M)
        lines = [
            json.dumps({"subject_name": name, "level": level, "subtopics": topics.split(", ")})
            for name, level, topics in found
        ]
        return "\n".join(["```jsonl", *lines, "```"])

    def _syllabus(self, chat):
        chapter = self.bank.chapters.get(_told("Discipline", chat.user))
        name = _told("Subject", chat.user)
        subject = next((entry for entry in chapter.subject if entry.name == name), None) if chapter else None
        if subject is None:
            return None
        parts = [f"This course is an introduction to {subject.name.lower()}."]
        for number, lesson in enumerate(subject.lesson, 1):
            parts.append(f"Session {number}: {lesson.name}\n{lesson.about}")
            parts += [f"- {concept.name}" for concept in lesson.concept]
        return "\n".join(parts)

    def _extract(self, chat):
        lessons = [
            {"name": name, "description": about, "key_concepts": re.findall(r"^- (.*)$", rest, re.M)}
            for name, about, rest in re.findall(r"^Session \d+: (.*)\n(.*)\n((?:- .*\n?)+)", chat.earlier[-1][1], re.M)
        ]
        return json.dumps({"lessons": lessons})

    def _given(self, chat):
        """(concepts to ask about, the others of the course, dice), or None where the bank lacks one."""
        discipline, rng = _told("Discipline", chat.user), random.Random(chat.draw)
        names = _told("Key concepts", chat.user.rpartition("</syllabus>")[2]).split("; ")
        listed = re.findall(r"^   Key concepts: (.*)$", chat.user, re.M)
        others = [name for line in listed for name in line.split("; ") if name not in names and name != "none"]
        rng.shuffle(others)
        found = [self.bank.concepts.get((discipline, name)) for name in (*names, *others)]
        return None if None in found else (found[: len(names)], found[len(names) :], rng)

    def _question(self, chat):
        given = self._given(chat)
        if given is None:
            return None
        concepts, others, rng = given
        target, noted = rng.choice(concepts), rng.random() < NOTED
        if target.formula and rng.random() < NUMERIC:
            return render_prompt(Exchange(question=write_computed(rng, concepts, target, trained=True, noted=noted)))
        forms = ("meaning", "choice", "choice", "relation", "relation choice", "relation choice", "term", "holder")
        form = "relation choice" if noted else rng.choice(forms)
        if form.endswith("choice"):
            wrong = self._wrong(chat, concepts, others, target, form != "choice")
            text, options = choice(rng, wrong, target, trained=True, relation=form != "choice", noted=noted)
            if len(options) == CHOICES:
                return render_prompt(Exchange(question=text, options=tuple(options)))
        alone = [concept for concept in concepts if not self._defensible(chat, concept, target)]
        return render_prompt(Exchange(question=write_opened(rng, concepts, target, form, alone)))

    def _defensible(self, chat, concept, target):
        """Whether what is true of `target` could be said of another concept as well."""
        return target.relation[1] in self.bank.also.get((_told("Discipline", chat.user), concept.name), ())

    def _wrong(self, chat, concepts, others, target, relation):
        """Concepts whose text is a wrong option, those of the set first, and of these the ones with the same verb.

        What the bank knows to be right too is none: the values of also_true.toml, the same value, a text that names
        the concept itself.
        """
        right = {target.relation[1], *self.bank.also.get((_told("Discipline", chat.user), target.name), ())}
        found = [
            concept
            for concept in (*concepts, *others)
            if concept is not target
            and not (relation and concept.relation[1] in right)
            and target.name.casefold() not in (concept.relation[1] if relation else concept.meaning).casefold()
        ]
        return sorted(found, key=lambda concept: relation and concept.relation[0] != target.relation[0])

    def _checked(self, chat):
        given = self._given(chat)
        if given is None:
            return None
        concepts, others, rng = given
        target, options, noted = rng.choice(concepts), [], _told("Book", chat.user) == "open"
        if target.formula and rng.random() < NUMERIC:
            text = write_computed(rng, concepts, target, trained=False, noted=noted)
        else:
            relation = noted or rng.random() < 0.5
            wrong = self._wrong(chat, concepts, others, target, relation)
            text, options = choice(rng, wrong, target, trained=False, relation=relation, noted=noted)
            if len(options) < CHOICES:
                return None
        return json.dumps({"question": text, "options": options, "concept": target.name})


def _told(label, text):
    found = re.search(rf"^{label}: (.*)$", text, re.M)
    assert found is not None, f"the prompt has no line {label}"
    return found[1]


def _wording(rng, forms, trained):
    return rng.choice(forms[:-1]) if trained else forms[-1]


def write_opened(rng, concepts, target, form, alone):
    """A question with a short answer of its own. `alone` are the concepts of which what is asked is not true too."""
    if form == "holder" and len(alone) > 1 and target in alone:
        names = join_words([concept.noun for concept in rng.sample(alone, min(3, len(alone)))])
        if target.noun in names:
            verb, value = target.relation
            return rng.choice(wordings.HOLDER).format(names=names, verb=verb, value=value)
    names = [concept.noun for concept in rng.sample(concepts, len(concepts))]
    if form in ("relation", "holder"):
        asked = _wording(rng, wordings.RELATION[target.relation[0]], True)
        return asked.format(noun=target.noun, name=target.name)
    if form == "term":
        if len(concepts) > 1:
            return rng.choice(wordings.WHICH).format(names=join_words(names), meaning=target.meaning)
        return rng.choice(wordings.TERM).format(meaning=target.meaning)
    if len(concepts) > 1 and rng.random() < 0.5:
        return wordings.BOTH[0].format(names=join_words([names[0], names[1]]))
    return _wording(rng, wordings.MEANING, True).format(noun=target.noun)


def choice(rng, wrong, target, trained, relation, noted=False):
    """(question, CHOICES options; fewer in a short course). The concepts of `wrong` give the wrong ones in this order.

    `noted`: the fact behind each option stands in front of the question, so that it can be answered by who can read.
    """
    say = (lambda concept: concept.relation[1]) if relation else (lambda concept: concept.meaning)
    forms = wordings.RELATION[target.relation[0]] if relation else wordings.MEANING
    chosen = {say(target): target}
    for concept in wrong:
        if len(chosen) < CHOICES:
            chosen.setdefault(say(concept), concept)
    options = list(chosen)
    rng.shuffle(options)
    asked = _wording(rng, forms, trained).format(noun=target.noun, name=target.name)
    if noted:
        facts = [" ".join((concept.noun, *concept.relation)) for concept in chosen.values()]
        facts.sort(reverse=not trained)  # so that no run of two facts of a test stands in a training row
        told = " ".join(f"{fact[:1].upper()}{fact[1:]}." for fact in facts)
        asked = wordings.NOTE.format(facts=told, asked=asked)
    return asked, options


@cache
def solved(concept):
    """(its Formula, the value combinations that come out exactly)."""
    formula = concept.solver()
    return formula, arithmetic.combinations(formula, 0)


def write_computed(rng, concepts, target, trained, noted=False):
    """A question with numbers. Where several concepts are given, which of them is needed has to be found out.

    `noted`: the formula stands in front of it.
    """
    formula, pool = solved(target)
    kept = max(2, len(pool) // 4)  # for graded questions, so that no answer of a test is trained
    values = rng.choice(pool[kept:] if trained else pool[:kept])
    forms = wordings.SELECT if len(concepts) > 1 else wordings.COMPUTE
    names = [concept.noun for concept in rng.sample(concepts, len(concepts))]
    shape = {symbol: arithmetic.text(value) for symbol, value in values.items()}
    asked = rng.choice(forms).format(
        noun=target.noun, names=join_words(names), givens=write_givens(formula, shape), quantity=formula.quantity
    )
    if not noted:
        return asked
    shown = arithmetic.render(arithmetic.parse(formula.expression, formula.symbols, formula.id))
    return wordings.NOTE.format(facts=f"{formula.quantity}: {formula.symbol} = {shown}.", asked=asked)
