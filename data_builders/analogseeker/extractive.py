"""Facts from running text, for nodes without stated facts: a phrase of a sentence is left out and asked for.

Five kinds of phrase are taken: the name in "is called NAME", a value with its unit, a word that decides the statement
(increases, in parallel, the gate), a technical term, and the name in a list of commands. Every fact keeps the place of
its source sentence as `span`. The questions test recall of what the text says; wrong options come from fixed families
of opposites, from scaled values, or from terms of other nodes. The wordings kept for the test show no more than a dozen
words of the sentence, so that they differ from every training text by the measure of the leak gate.
"""

import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_builders.core.headings import name_subjects
from data_builders.core.ledger import Ledger
from data_builders.core.patterns import GARBLED, words
from data_builders.core.quantities import find_quantities, scale_wrong
from data_builders.core.schema import Node, order
from data_builders.core.sentences import STOP, examine, technical_terms
from data_builders.sources.facts import Fact, SidecarNode
from recipes.base.errors import RecipeError
from recipes.base.hashing import stable_id

GAP = "____"
VISIBLE = 11  # words of the source that a test wording shows on the two sides of the gap together
STEP = "facts"  # of the ledger
OTHER_DIGITS = 3  # digits beside its quantities that a sentence may have
CHOICES = tuple(
    (re.compile(choice["pattern"]), choice["wrong"])
    for choice in tomllib.loads((Path(__file__).parent / "choices.toml").read_text(encoding="utf-8"))["choice"]
)
NAMED = re.compile(
    r"\b(?:called|known as|referred to as|dubbed|termed|so-called|the name) (?:the |a |an )?\"?"
    r"([A-Z]{2,6}|[A-Za-z][a-z-]{2,}(?: [a-z-]{3,}){0,2}?)\"?(?=[,.;)]| of | is | \(|$)"
)
COMMAND = re.compile(r"^- (?:`([^`]{1,40})`)(?:\s*\([a-z][\w\s]{1,20}\))?\s+(.{12,200})$")


def mine_facts(
    nodes: Sequence[Node],
    marked: Mapping[str, Sequence[str]],
    seed: int,
    ledger: Ledger,
    per_node: int,
    per_sentence: int,
) -> dict[str, SidecarNode]:
    """{node id: SidecarNode} of facts found in the nodes' sentences. `marked` holds the bold terms by node id.

    Each fact that is found counts in the ledger, those that are not taken with the reason: at most `per_node` of a
    node, and `per_sentence` of a sentence beside its quantities. Raises RecipeError where there are nodes but not one
    usable sentence among them.
    """
    if not nodes:
        return {}
    terms = technical_terms(nodes, marked)
    families = defaultdict(list)
    for node in nodes:
        families[node.family].append(node.text)
    homes = {
        term: {family for family, texts in families.items() if any(term in text for text in texts)} for term in terms
    }
    names = {name for node in nodes for name in NAMED.findall(node.text)}
    found = {}
    for node in nodes:
        mined = [*_commands(node, seed), *_sentence_facts(node, terms, homes, names, seed, ledger, per_sentence)]
        facts = sorted({fact.id: fact for fact in mined}.values(), key=lambda fact: order(seed, fact.id))
        for fact in facts[per_node:]:
            ledger.drop(STEP, f"more than data.facts_per_node = {per_node} of one node", node.node_id, fact.why[:120])
        if facts:
            ledger.keep(STEP, len(facts[:per_node]))
            found[node.node_id] = SidecarNode(section=node.title, fact=tuple(facts[:per_node]))
    if not found:
        raise RecipeError(
            "No question could be made from the corpus.",
            where="data.corpus",
            got=f"{len(nodes)} nodes without facts",
            allowed="whole sentences that state something, or sidecar files with facts",
            fix="add sidecar files (see data_builders/sources/facts.py) or more prose",
        )
    return found


def topic(node: Node, whole: bool = False) -> str:
    """What a node is about, in words that make sense outside the book; the heading above too where one is short.

    Where no heading says anything ("Chapter 1"), the name of the document.
    """
    path = name_subjects(node.path) or (re.sub(r"[\W_]+", " ", node.book_id.rpartition("/")[2]).strip() or "the text",)
    names = [re.split(r" - | vs\. ", name.removeprefix("Appendix: "))[0].rstrip(":?!. ") for name in path]
    return f"{names[-2]}, {names[-1]}" if len(names) > 1 and (whole or len(names[-1].split()) < 3) else names[-1]


def _sentence_facts(node, terms, homes, names, seed, ledger, per_sentence):
    """The facts of a node's sentences; what a sentence states and no fact is made of goes to the ledger."""
    for sentence, lack in examine(node):
        text = sentence.text
        if lack is not None:
            for stated in find_quantities(text):
                ledger.drop(STEP, lack, node.node_id, f"{stated.shown} {stated.unit}: {text}"[:120])
            continue
        taken = []
        for gap, reason in _values(text):
            fact = gap and _fact(node, sentence, *gap)
            if fact is None:
                ledger.drop(STEP, reason or "too little around the gap", node.node_id, text[:120])
            else:
                taken.append(fact)
        others = [_named(node, text, names, seed), _choice(text), *_terms(node, text, terms, homes, seed)]
        facts = [fact for gap in others if gap and (fact := _fact(node, sentence, *gap))]
        yield from [*taken, *facts[:per_sentence]]
        for fact in facts[per_sentence:]:
            reason = f"more than data.facts_per_sentence = {per_sentence} of one sentence"
            ledger.drop(STEP, reason, node.node_id, f"{fact.answer}: {text}"[:120])


def _values(text):
    """(gap, None) of each quantity of a sentence, or (None, why it is not asked for)."""
    found = find_quantities(text)
    digits = len(re.findall(r"\d", text)) - sum(len(re.findall(r"\d", text[one.start : one.end])) for one in found)
    for stated in found:
        shown = text[stated.start : stated.end]
        if digits > OTHER_DIGITS:
            yield None, "other numbers in the sentence"
        elif stated.value == 0:
            yield None, "a quantity of 0 has no plausible wrong values"
        elif sum(text[one.start : one.end] == shown for one in found) > 1:
            yield None, "the quantity stands twice in the sentence"
        else:
            yield ((stated.start, stated.end), scale_wrong(stated), "analysis"), None


def _named(node, text, names, seed):
    """The name in "is called NAME"; wrong names are those that the corpus gives to other things, of the same shape."""
    match = NAMED.search(text)
    if match is None or len(_places(match.group(1), text)) != 1:
        return None
    name = match.group(1)
    others = [
        other
        for other in names
        if not _stems(other) & _stems(text) and other.isupper() == name.isupper() and _plural(other) == _plural(name)
    ]
    others.sort(key=lambda other: (abs(len(other.split()) - len(name.split())), order(seed, node.node_id, name, other)))
    return (match.span(1), tuple(others[:4]), "concepts") if len(others) >= 3 else None


def _choice(text):
    for pattern, options in CHOICES:
        matches = list(pattern.finditer(text))
        if len(matches) == 1 and len(re.findall(rf"\b{re.escape(matches[0].group(1))}\b", text)) == 1:
            answer = matches[0].group(1)
            wrong = options[answer] if isinstance(options, dict) else options
            if not any(re.search(rf"\b{re.escape(option)}\b", text) for option in wrong[1:]):
                return matches[0].span(1), wrong, "derivation"
    return None


def _terms(node, text, terms, homes, seed):
    """The technical terms that occur once, rarest first, and wrong ones: of the same head, then of the same chapter."""
    here = [term for term in terms if len(_places(term, text)) == 1]
    here = [term for term in here if not any(term != other and term in other for other in here)]
    apart, said = _stems(node.text), _stems(text)
    for term in sorted(here, key=lambda term: (-len(term.split()), terms[term], term)):
        own, head = _stems(term), term.split()[-1]
        others = [
            other
            for other in terms
            if _plural(other) == _plural(term)
            and not _stems(other) <= said | own
            and not own <= _stems(other)
            and abs(len(other.split()) - len(term.split())) < 2
        ]
        others.sort(key=lambda other: order(seed, node.node_id, term, other))
        near = [other for other in others if other.split()[-1] == head][:2]
        far = [other for other in others if other.split()[-1] != head and not _stems(other) <= apart]
        far.sort(key=lambda other: node.family not in homes[other])
        if len(near + far) >= 3:
            yield _places(term, text)[0].span(), tuple([*near, *far][:4]), "concepts"


def _plural(term):
    return term.endswith("s") and not term.endswith(("ss", "is", "us"))


def _places(term, text):
    return list(re.finditer(rf"(?<![\w-]){re.escape(term)}(?![\w-])", text))


def _stems(text):
    """The words of a text without plural endings."""
    return {word.removesuffix("s") for word in words(text)}


def _fact(node, sentence, place, wrong, stance):
    text, (start, end) = sentence.text, place
    answer, gapped = text[start:end], f"{text[:start]}{GAP}{text[end:]}"
    states = bool(find_quantities(answer))
    fewest = 5 if states else 6
    if (start == 0 and not states) or len(gapped.split()) < fewest or len({answer.casefold(), *wrong}) < 4:
        return None
    about, bare = topic(node), gapped.rstrip(".")
    questions = (
        f'Fill the gap: "{gapped}"',
        f'{about}: which words complete the statement "{gapped}"',
        f'One part of a statement is missing. Name it: "{bare}"',
        f'{about}: what belongs in the gap of "{window(bare, 6)}"?',
        f'Speaking of {about}, what is left out of "{window(bare, 7)}"?',
    )
    if stance == "concepts" and re.search(r"\b(?:limited|degrade|error|only valid|trade|limitation)\b", text):
        stance = "limits"
    return Fact(
        id=stable_id(node.node_id, text, answer),
        stance=stance,
        questions=questions,
        answer=answer,
        wrong=tuple(wrong),
        why=text,
        span=f"{node.source}:{node.node_id}:{sentence.start}-{sentence.end}",
    )


def window(gapped, before):
    """The words around the gap: up to `before` in front, at most VISIBLE in all, dots where something was cut."""
    left, right = (part.split() for part in gapped.split(GAP, 1))
    front, back = [], []
    while left and len(words(" ".join([left[-1], *front]))) <= before:
        front.insert(0, left.pop())
    while right and len(words(" ".join([*front, *back, right[0]]))) <= VISIBLE:
        back.append(right.pop(0))
    shown = " ".join([*(["..."] if left else []), *front, GAP, *back, *(["..."] if right else [])])
    return re.sub(rf"{GAP} ([,.;:)])", rf"{GAP}\1", shown)


def _commands(node, seed):
    """Facts from a list of `name` and what it does; needs enough entries that other entries can be the wrong ones."""
    entries, place = [], 0
    for line in node.text.split("\n"):
        match = COMMAND.match(line)
        if match and not GARBLED.search(match.group(1)):
            entries.append((match.group(1).strip(), _purpose(match.group(2)), line, place))
        place += len(line) + 1
    names, about = Counter(entry[0] for entry in entries), topic(node, whole=True)
    if len(names) < 5:
        return
    for name, purpose, line, place in entries:
        if purpose is None or names[name] > 1 or name.casefold() in purpose.casefold().split():
            continue
        wrong = [
            other
            for other in names
            if other.split()[0] != name.split()[0]
            and len(other.split()) <= 4
            and not set(words(other)) & set(words(purpose))
        ]
        wrong.sort(key=lambda other: order(seed, name, other))
        verb = f"serves to {purpose[3:]}" if purpose.startswith("to ") else purpose
        why = re.sub(r"\s+", " ", line[2:].replace("`", ""))
        questions = (
            f"{about}: which entry {verb}?",
            f"Which entry of {about} {verb}?",
            f"Name the entry of {about} that {verb}.",
            f"Looking at {about}, what {verb}?",
            f"In {about}, one entry {verb}. Which one?",
        )
        if len(wrong) >= 3 and len(name.split()) <= 4:
            yield Fact(
                id=stable_id(node.node_id, name, purpose),
                stance="design",
                questions=questions,
                answer=name,
                wrong=tuple(wrong[:4]),
                why=why if why.endswith(".") else why + ".",
                span=f"{node.source}:{node.node_id}:{place}-{place + len(line)}",
            )


def _purpose(text):
    """The first clause of an entry where it is short and starts with "to VERB" or a verb in the third person."""
    text = re.split(r"\s*[(;,]|\.\s|\s-\s", text.replace("`", ""))[0].strip().rstrip(".:")
    first = text.split()[0] if text else ""
    verb = first == "to" or (first.endswith("s") and first.isalpha() and first not in STOP)
    short = len(text.split()) > 1 and len(words(text)) <= 9
    return text if verb and short and not {"it", "them"} & set(text.split()) else None
