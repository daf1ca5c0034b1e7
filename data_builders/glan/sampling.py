"""Which key concepts a question is about: sets from one class session or from two, a fresh one for every question.

Strategy 1 takes 1 to `most` concepts of one session, strategy 2 takes 2 to `most` that touch both of two sessions
(GLAN, arXiv 2402.13064, section 2.4). The paper does not say how often it takes which; here that is a share.
"""

import math
import random
from dataclasses import dataclass

from data_builders.core.schema import order
from recipes.base.hashing import stable_id

MOST = 5


@dataclass(frozen=True)
class Sample:
    """A concept set. `lessons` are places in the syllabus; `fell_back`: two sessions were wanted, one has concepts.

    `purpose` is train, rl, seen or heldout; `number` counts the samples of a syllabus and purpose from 0; `seed` is
    this sample's own, below 2^31, and goes to the model as well.
    """

    sample_id: str
    syllabus_id: str
    discipline: str
    purpose: str
    number: int
    strategy: int
    lessons: tuple[int, ...]
    concepts: tuple[str, ...]
    seed: int
    fell_back: bool


def draw(syllabus, purpose, number, spec, seed):
    """Sample `number` of a syllabus; the same for the same arguments, whatever else the taxonomy holds.

    `syllabus` is an `outline.Syllabus` that has a session with concepts.
    """
    own = order(seed, "sample", syllabus.syllabus_id, purpose, number) % 2**31
    rng = random.Random(own)
    filled = [place for place, lesson in enumerate(syllabus.lessons) if lesson.key_concepts]
    # Any first part of the numbers keeps the share.
    double = math.floor((number + 1) * (1 - spec.single)) > math.floor(number * (1 - spec.single))
    fell_back = double and len(filled) < 2
    if double and not fell_back:
        lessons = tuple(sorted(rng.sample(filled, 2)))
        concepts = _touching(rng, [syllabus.lessons[place].key_concepts for place in lessons], spec.concepts)
    else:
        lessons = (rng.choice(filled),)
        pool = syllabus.lessons[lessons[0]].key_concepts
        concepts = rng.sample(pool, rng.randint(1, min(spec.concepts, len(pool))))
    content = (syllabus.syllabus_id, purpose, number, lessons, concepts, own)
    return Sample(
        stable_id(*content),
        syllabus.syllabus_id,
        syllabus.discipline,
        purpose,
        number,
        len(lessons),
        lessons,
        tuple(concepts),
        own,
        fell_back,
    )


def _touching(rng, pools, most):
    """Two to `most` concepts of both pools, each set of a size as likely as any other."""
    pool = [*pools[0], *pools[1]]
    size = rng.randint(2, min(most, len(pool)))
    while True:
        concepts = rng.sample(pool, size)
        if all(set(concepts) & set(part) for part in pools):
            return concepts


def samples(syllabuses, purpose, count, spec, seed):
    """`count` samples of one discipline, its syllabuses in turn."""
    usable = [syllabus for syllabus in syllabuses if any(lesson.key_concepts for lesson in syllabus.lessons)]
    return [
        draw(usable[number % len(usable)], purpose, number // len(usable), spec, seed)
        for number in range(count if usable else 0)
    ]
