"""The expert teacher, deterministic and offline: turns stated facts into records and computes the answers of formulas.

It words nothing itself: questions, explanations and misconceptions come from the fact, numbers from the formula. It
cannot judge whether a fact is true, nor ask across two facts, nor derive a formula from another one.
"""

from fractions import Fraction

from data_builders.analogseeker.protocol import Reply
from data_builders.core import arithmetic
from data_builders.core.schema import order
from data_builders.core.wording import write_givens, write_quantity
from data_builders.llm.choices import CHOICES
from data_builders.sources.facts import Fact, Formula
from recipes.base.options import LETTERS

SCALES = [Fraction(2), Fraction(1, 2), Fraction(10), Fraction(1, 10), Fraction(3), Fraction(5), Fraction(1, 4)]


class Expert:
    """Answers every request from the fact or formula that it carries."""

    name = "expert"
    version = 1

    def ask(self, requests, arrived=lambda reply: None):
        for request in requests:
            reply = self._calculate(request) if request.values is not None else self._recall(request)
            arrived(reply)
            yield reply

    def _recall(self, request):
        fact = Fact.model_validate(request.subject)
        question = fact.questions[request.wording]
        if request.kind == "open":
            return Reply(
                request=request.id,
                question=question,
                thinking=fact.why,
                solution=f"So: {fact.answer}.",
                answer=fact.answer,
            )
        wrong = sorted(fact.wrong, key=lambda option: order(request.seed, request.id, option))[:3]
        return self._choice(request, question, fact.why, fact.answer, wrong)

    def _calculate(self, request):
        formula = Formula.model_validate(request.subject)
        tree = arithmetic.parse(formula.expression, formula.symbols, formula.id)
        values = {symbol: Fraction(value) for symbol, value in request.values.items()}
        try:
            line = arithmetic.steps(tree, values)
        except arithmetic.NotExact:
            return Reply(request=request.id, declined="result is not exact")
        question = formula.questions[request.wording].replace("{givens}", write_givens(formula, request.values))
        thinking = " = ".join([formula.symbol, *line])
        answer = write_quantity(line[-1], formula.unit)
        if request.kind == "calc":
            solution = f"The {formula.quantity} is {answer}."
            return Reply(request=request.id, question=question, thinking=thinking, solution=solution, answer=answer)
        wrong = distractors(formula, values, Fraction(line[-1]))
        return self._choice(
            request, question, thinking, answer, [write_quantity(value, formula.unit) for value in wrong]
        )

    def _choice(self, request, question, thinking, right, wrong):
        # The place of the right option moves on with the draw from a hashed start, so letters come out even.
        place = (order(request.seed, request.subject["id"], request.wording) + request.draw) % CHOICES
        options = [*wrong[:place], right, *wrong[place:]]
        return Reply(
            request=request.id,
            question=question,
            thinking=thinking,
            options=tuple(options),
            solution=f"So the right option is: {right}.",
            answer=LETTERS[place],
        )


def distractors(formula, values, right):
    """Three wrong values as text: the typical mistakes first, then the right value times a plain factor."""
    found = []

    def add(value):
        near = any(abs(value - other) <= abs(other) / 50 for other in [right, *found])
        if not near and value != 0 and (value > 0) == (right > 0) and arithmetic.is_clean(value):
            found.append(value)

    for expression in formula.wrong:
        try:
            add(_short(arithmetic.evaluate(arithmetic.parse(expression, formula.symbols, formula.id), values)))
        except arithmetic.NotExact:
            continue
    for scale in SCALES:
        if len(found) < 3:
            add(_short(right * scale))
    return [arithmetic.text(value) for value in found[:3]]


def _short(value):
    """The value rounded to three significant digits."""
    return Fraction(f"{float(value):.3g}")
