"""How the expert answers: it is shown a question, knows its form and its concept again, and works the answer out."""

import re
from fractions import Fraction
from functools import partial

from data_builders.core import arithmetic
from data_builders.core.wording import write_quantity
from data_builders.glan import wordings
from recipes.base.options import LETTERS
from recipes.base.reply_form import Exchange, render_reply

NOTED = re.compile(r"^Note: .* Question: ")
GIVEN = re.compile(r"(\w+) = (-?\d+(?:\.\d+)?)")


class Solver:
    """Answers the questions that the expert can ask, and no others."""

    def __init__(self, bank):
        self.by_noun = {concept.noun.casefold(): concept for concept in bank.concepts.values()}
        self.by_meaning = {concept.meaning: concept for concept in bank.concepts.values()}
        self.forms = [
            *((_pattern(text), self._meaning) for text in wordings.MEANING),
            *((_pattern(text), self._term) for text in (*wordings.TERM, *wordings.WHICH)),
            *(
                (_pattern(text.replace("{verb}", verb)), partial(self._holder, verb))
                for text in wordings.HOLDER
                for verb in wordings.RELATION
            ),
            *((_pattern(text), self._compute) for text in (*wordings.COMPUTE, *wordings.SELECT)),
            *((_pattern(text), self._relation) for verb, texts in wordings.RELATION.items() for text in texts),
            *((_pattern(text), self._both) for text in wordings.BOTH),
        ]
        self.names = {concept.name.casefold(): concept for concept in bank.concepts.values()}

    def answer(self, turn):
        """The whole reply to a user turn, or None for a question that it does not know."""
        question, *rest = turn.split("\n")
        question = NOTED.sub("", question)
        options = [line[3:] for line in rest if re.match(rf"[{LETTERS}]\) ", line)]
        for pattern, solve in self.forms:
            match = pattern.fullmatch(question)
            reply = solve(match.groupdict(), options) if match else None
            if reply:
                return reply
        return None

    def _known(self, parts):
        return self.by_noun.get(parts.get("noun", "").casefold()) or self.names.get(parts.get("name", "").casefold())

    def _meaning(self, parts, options):
        concept = self._known(parts)
        return concept and _told(f"{_capital(concept.noun)}: {concept.meaning}.", concept.meaning, options)

    def _relation(self, parts, options):
        concept = self._known(parts)
        if concept is None:
            return None
        verb, value = concept.relation
        return _told(f"{_capital(concept.noun)} {verb} {value}.", value, options)

    def _term(self, parts, options):
        concept = self.by_meaning.get(parts["meaning"])
        return concept and _told(f"{_capital(concept.noun)}: {concept.meaning}.", concept.name, options)

    def _holder(self, verb, parts, options):
        found = [self.by_noun.get(name.casefold()) for name in _names(parts["names"])]
        right = [concept for concept in found if concept and concept.relation == (verb, parts["value"])]
        if len(right) != 1:
            return None
        return _told(f"{_capital(right[0].noun)} {verb} {parts['value']}.", right[0].name, options)

    def _both(self, parts, options):
        named = [self.by_noun.get(name.casefold()) for name in _names(parts["names"])]
        found = [concept for concept in named if concept is not None]
        if len(found) < len(named):
            return None
        thinking = " ".join(f"{_capital(concept.noun)}: {concept.meaning}." for concept in found)
        return _told(thinking, "; ".join(concept.meaning for concept in found), options)

    def _compute(self, parts, options):
        nouns = [parts["noun"]] if "noun" in parts else _names(parts["names"])
        values = {symbol: Fraction(value) for symbol, value in GIVEN.findall(parts["givens"])}
        for concept in (self.by_noun.get(noun.casefold()) for noun in nouns):
            formula = concept.solver() if concept and concept.formula else None
            if formula and formula.quantity == parts["quantity"] and set(formula.symbols) == values.keys():
                line = arithmetic.steps(arithmetic.parse(formula.expression, formula.symbols, formula.id), values)
                answer = write_quantity(line[-1], formula.unit)
                return _reply(" = ".join([formula.symbol, *line]), f"The {formula.quantity} is {answer}.", answer)
        return None


def _pattern(text):
    """A wording as a pattern, its slots as named groups."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(text)))


def _names(text):
    return re.split(r", | and ", text)


def _capital(text):
    return text[:1].upper() + text[1:]


def _told(thinking, answer, options):
    """A reply of the form that the embedded base knows; None where options are shown without the answer among them."""
    if options and answer not in options:
        return None
    lead = "So the right option is" if options else "So"
    return _reply(thinking, f"{lead}: {answer}.", answer)


def _reply(thinking: str, solution: str, answer: str) -> str:
    return render_reply(Exchange(question="", thinking=thinking, solution=solution, answer=answer))
