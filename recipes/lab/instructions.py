"""Instructions in documents: copy, order, count, compare, pick."""

import random

from recipes.lab.arithmetic import operand, render_number
from recipes.lab.items import WORDS, Item


def instruction(rng: random.Random) -> Item:
    """Something to do with a few words or numbers of the prompt: copy, order, count, compare, pick."""
    words = rng.sample(WORDS, rng.randint(2, 6))
    numbers = rng.sample(range(1, 100), rng.randint(2, 5))
    pair = operand(rng), operand(rng)
    extreme, better = (max, "larger") if rng.random() < 0.5 else (min, "smaller")
    listed, digits = " ".join(words), ", ".join(map(str, numbers))
    first, second = map(render_number, pair)
    question, think, answer = rng.choice(
        [
            (f"Repeat these words: {listed}.", "I copy the words.", listed),
            (
                f"Write these words in reverse order: {listed}.",
                "I read the words from the end.",
                " ".join(reversed(words)),
            ),
            (f"Which word comes first in: {listed}?", f"The words are {listed}.", words[0]),
            (f"Which word comes last in: {listed}?", f"The words are {listed}.", words[-1]),
            (
                f"How many words are in: {listed}?",
                " ".join(f"{place} {word}" for place, word in enumerate(words, 1)),
                str(len(words)),
            ),
            (
                f"Sort these numbers from small to large: {digits}.",
                "The smallest comes first.",
                ", ".join(map(str, sorted(numbers))),
            ),
            (f"What is the largest of {digits}?", "I look for the largest.", str(max(numbers))),
            (f"What is the smallest of {digits}?", "I look for the smallest.", str(min(numbers))),
            (f"Sort these words by the alphabet: {listed}.", "I compare the first letters.", " ".join(sorted(words))),
            (
                f"Which is {better}, {first} or {second}?",
                f"I compare {first} and {second}.",
                render_number(extreme(pair)),
            ),
        ]
    )
    assert answer is not None, "the numbers compared are ones that are written exactly"
    return Item(
        kind="instructions",
        question=question,
        think=think,
        solution=f"So: {answer}.",
        answer=answer,
        grader="text",
    )
