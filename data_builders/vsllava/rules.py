"""What plain rules make of the measured features: the baseline that a model on the same features has to beat.

The rules see what a model sees, no parameter and no sample. Limits were set by looking at training signals.
"""

import numpy as np

from data_builders.vsllava.bearing import BEARINGS
from data_builders.vsllava.signals import JOIN, text
from recipes.base.reply_form import Exchange, render_reply

FLAT = 0.14  # an envelope line below this is noise
NEAR = 0.02  # relative error of an order
STRUCK = {"outer": "outer race fault", "inner": "inner race fault", "ball": "ball fault"}


def answer(found, item):
    """The reply to an Item by its `Features`; without any (None) nothing can be said."""
    if found is None:
        return ""
    if item.family == "parameter":
        value = measured(found, item.asked.symbol)
        stated = f"{text(value)} {item.asked.unit or ''}".rstrip()
    else:
        label = classify(found, item.options)
        stated = label if item.family == "type" else f"{label.capitalize()}."
    return render_reply(Exchange(question=item.question, answer=stated))


def note(found):
    """What tells the types apart, in a line: each number with the word that a rule has for it.

    It is the thinking of a training row about a signal's type. The words are measured, like the numbers; the type that
    follows is the true one, which the rules may miss.
    """
    (_, depth), *_ = found.envelope
    first, *rest = (f for f, _ in found.envelope[:2])
    orders = f"{text(first / found.shaft)} {_part(found, first)}"
    for f in rest:
        part = _part(found, f)
        double = part == "other" and abs(f / first - 2) < 2 * NEAR
        orders += f" and {text(f / found.shaft)} {'double' if double else part}"
    lines = "harmonic" if _harmonic(found) else "sidebands" if _sidebands(found) else "apart"
    share = "high" if found.share > 0.55 else "low" if found.share < 0.08 else "middle"
    return (
        f"envelope {depth:.2f} {'strong' if depth >= FLAT else 'flat'}, orders {orders}, "
        f"lines {' '.join(text(f) for f, _ in found.spectrum[:3])} {lines}, share {found.share:.2f} {share}, "
        f"track {text(found.track[0])} to {text(found.track[-1])} {'rising' if _rising(found) else 'steady'}"
    )


def _part(found, f):
    """The part of the machine whose order a line has."""
    orders = BEARINGS[found.bearing].orders | {"shaft": 1.0}
    return next((part for part, order in orders.items() if abs(f / found.shaft / order - 1) < NEAR), "other")


def _rising(found):
    return (np.diff(found.track) > 20).all()


def classify(found, options):
    """The label, or two joined ones, that the features fit best."""
    struck, rate = _struck(found)
    steady = _beside(found, rate) if struck else _steady(found)
    named = [label for label in (steady, struck) if label is not None and label in options]
    return JOIN.join(named) or ("healthy" if "healthy" in options else options[0])


def _struck(found):
    """(impulsive part, its rate): a bearing's by the order of an envelope line, else even impulses; (None, 0)."""
    strong = [(f, depth) for f, depth in found.envelope if depth >= FLAT]
    if _meshing(found) or not strong:
        return None, 0
    orders = BEARINGS[found.bearing].orders
    struck = [
        (label, f)
        for f, _ in strong
        for part, label in STRUCK.items()
        if abs(f / found.shaft / orders[part] - 1) < NEAR
    ]
    rate = min(f for f, _ in strong)
    multiples = sum(abs(f / rate - round(f / rate)) < 0.05 for f, _ in strong)
    ringing = found.kurtosis > 2.2 and max(f for f, _ in found.spectrum) > 400
    even = multiples >= min(3, len(found.envelope)) and all(f != rate for _, f in struck)
    if ringing and even:
        return "periodic impulse", rate
    return struck[0] if struck else (None, 0)


def _beside(found, rate):
    """What goes on beside impulses of that rate: a line below the resonances that is no multiple of the rate."""
    rising = np.diff(found.track)
    if (rising > 20).sum() >= 2 and rising.sum() > 150 and found.track[0] < 300:
        return "chirp"
    (f, _), *others = found.spectrum
    if f >= 400 or abs(f / rate - round(f / rate)) * rate < 3:
        return None
    sides = [abs(other - f) for other, _ in others if 4 < abs(other - f) < 21]
    return "AM" if sides or f > 205 else "single harmonic"


def _steady(found):
    """What goes on all the time where nothing strikes."""
    if _rising(found):
        return "chirp"
    if _meshing(found):
        return "gear fault"
    if _harmonic(found):
        return "multi harmonic"
    if max(depth for _, depth in found.envelope) >= FLAT:
        return "AM" if _sidebands(found) and found.share > 0.25 else "AM-FM"
    if found.share > 0.55:
        return "single harmonic"
    return "FM" if sum(a**2 for _, a in found.spectrum) / 2 / found.rms**2 > 0.3 else "healthy"


def _meshing(found):
    """The envelope swings once a turn around a line that is a whole multiple of the shaft rate."""
    f, depth = found.envelope[0]
    teeth = found.spectrum[0][0] / found.shaft
    return depth >= FLAT and abs(f / found.shaft - 1) < NEAR and abs(teeth - round(teeth)) < 0.1 and 9 <= teeth < 42


def _harmonic(found):
    """The three strongest lines stand as 1 : 2 : 3."""
    three = sorted(f for f, _ in found.spectrum[:3])
    return len(three) == 3 and all(abs(f / three[0] - k) < 0.06 for k, f in enumerate(three, 1))


def _sidebands(found):
    """The next two lines stand left and right of the strongest, as far as the strongest envelope line is high."""
    if len(found.spectrum) < 3:
        return False
    (middle, _), *sides = found.spectrum[:3]
    away = sorted(f - middle for f, _ in sides)
    swing = found.envelope[0][0]
    return away[0] < 0 < away[1] and all(abs(abs(f) / swing - 1) < 0.15 for f in away)


def measured(found, symbol):
    """The value of a parameter where its class would show it."""
    frequencies = [f for f, _ in found.spectrum]
    heights = [a for _, a in found.spectrum]
    lowest = min(found.spectrum[:3])
    middle = float(np.average(frequencies, weights=np.square(heights)))
    track = found.track
    return {
        "frequency": frequencies[0],
        "amplitude": heights[0],
        "fundamental": lowest[0],
        "amplitude_1": lowest[1],
        "carrier": frequencies[0] if found.share > 0.25 else middle,
        "index": found.envelope[0][1],
        "deviation": (max(frequencies) - min(frequencies)) / 2,
        "am_frequency": found.envelope[0][0],
        "rate": min((f for f, depth in found.envelope if depth >= FLAT), default=found.envelope[0][0]),
        "resonance": middle,
        "mesh": frequencies[0],
        "start": track[0] - (track[1] - track[0]) / 2,
        "end": track[-1] + (track[-1] - track[-2]) / 2,
    }[symbol]
