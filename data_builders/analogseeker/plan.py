"""Which records are asked for, and for what use: splits by source group are made here, before anything is asked."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from data_builders.analogseeker.forms import FORMS
from data_builders.analogseeker.protocol import Request
from data_builders.core import arithmetic
from data_builders.core.schema import Node, order
from data_builders.sources.facts import SidecarNode


def held_out(nodes: Iterable[Node], material: Mapping[str, SidecarNode], share: float, seed: int) -> set[str]:
    """Ids of the nodes kept for the transfer test: about `share` of those with material, one family after another.

    A family gives a second node only after all have given one. More than half of a family goes only where nothing else
    is left. Of a single node none is: it would leave nothing to train on.
    """
    families = defaultdict(list)
    for node in nodes:
        if node.node_id in material:
            families[node.family].append(node.node_id)

    def worth(node_id):
        entry = material[node_id]
        thin = len(entry.fact) + len(entry.formula) < 2
        return not (entry.fact and entry.formula), thin, order(seed, "held", node_id)

    queue = [
        (turn >= len(ids) // 2, turn, order(seed, "family", family), node_id)
        for family, ids in families.items()
        for turn, node_id in enumerate(sorted(ids, key=worth))
    ]
    most = max(1, round(share * len(queue))) if len(queue) > 1 else 0
    return {node_id for *_, node_id in sorted(queue)[:most]}


def shape(values):
    return {symbol: arithmetic.text(value) for symbol, value in values.items()}


class Planner:
    """Makes the requests of one corpus. `material` maps node ids to SidecarNode."""

    def __init__(self, nodes, material, spec, seed):
        self.spec, self.seed = spec, seed
        self.held = held_out(nodes, material, spec.transfer_share, seed) if spec.tests.transfer else set()
        known = [node for node in nodes if node.node_id in material]
        self.facts, self.formulas = (
            [
                (node, item, item.model_dump(mode="json"))
                for node in known
                for item in getattr(material[node.node_id], name)
            ]
            for name in ("fact", "formula")
        )
        self.combinations = {
            formula.id: [shape(values) for values in arithmetic.combinations(formula, seed)]
            for _, formula, _ in self.formulas
        }

    def requests(self):
        """Every request: training first, then the tests."""
        return [*self._recall(), *self._numbers(), *self._knowledge(), *self._transfer()]

    def _seen(self, items):
        return [item for item in items if item[0].node_id not in self.held]

    def _request(self, item, kind, wording, draw, split, values=None):
        node, subject, dumped = item
        return Request(node.node_id, node.family, subject.stance, kind, wording, draw, split, dumped, values, self.seed)

    def _trained_wordings(self, fact):
        return max(1, len(fact.questions) - self.spec.test_wordings)

    def _recall(self):
        for item in self._seen(self.facts):
            for wording in range(self._trained_wordings(item[1])):
                for draw in range(self.spec.draws):
                    yield self._request(item, "mcq", wording, draw, "sft")
                yield self._request(item, "open", wording, 0, "sft")
                if not self._seen(self.formulas):
                    yield self._request(item, "mcq", wording, self.spec.draws, "rl")
                    if self.spec.rl_forms:
                        yield self._request(item, "open", wording, 0, "rl")

    def _numbers(self):
        """Calculations of seen nodes: tested combinations are set aside first; sft and rl share the rest."""
        seen = self._seen(self.formulas)
        if not seen:
            return
        tested = math.ceil(self.spec.tests.calculation / len(seen))
        prompts = []
        for item in seen:
            pool, questions = self.combinations[item[1].id], len(item[1].questions)
            # A formula with few combinations keeps at least half of them for training.
            cut = min(tested, len(pool) // 2)
            for draw, values in enumerate(pool[:cut]):
                yield self._request(item, "calc", draw % questions, draw, "calculation", values)
            rest = pool[cut:]
            for draw, values in enumerate(rest[: self.spec.calc_per_formula]):
                yield self._request(item, "calc", draw % questions, draw, "sft", values)
            for draw, values in enumerate(
                rest[-self.spec.choice_per_formula :] if self.spec.choice_per_formula else ()
            ):
                yield self._request(item, "mcq", draw % questions, draw, "sft", values)
            shuffled = sorted(rest, key=lambda values: order(self.seed, "rl", values))
            prompts += [
                (draw, item[1].id, self._request(item, "calc", (draw + 1) % questions, draw, "rl", values))
                for draw, values in enumerate(shuffled)
            ]
        # As many of each formula as there are, one in turn, so that none is favoured.
        most = self.spec.rl_rows // (FORMS if self.spec.rl_forms else 1)
        for _, _, prompt in sorted(prompts, key=lambda entry: entry[:2])[:most]:
            yield prompt
            if self.spec.rl_forms:
                yield replace(prompt, kind="mcq")

    def _knowledge(self):
        if not self.spec.tests.knowledge:
            return
        for item in self._seen(self.facts):
            for wording in range(self._trained_wordings(item[1]), len(item[1].questions)):
                yield self._request(item, "mcq", wording, 0, "knowledge")

    def _transfer(self):
        for item in self.facts:
            if item[0].node_id in self.held:
                for wording in range(len(item[1].questions)):
                    yield self._request(item, "mcq", wording, 0, "transfer")
        for item in self.formulas:
            if item[0].node_id in self.held:
                for draw, values in enumerate(self.combinations[item[1].id][: max(8, self.spec.tests.transfer // 4)]):
                    yield self._request(item, "calc", draw % len(item[1].questions), draw, "transfer", values)
