"""Which records a model is asked for: nodes, points of view, draws; splits by node and draw are made here.

A node's draws are numbered. Kind and point of view of a draw follow from the node's place in the corpus and its number
alone, not from the seed of the run: another seed deals the same questions out to other uses and pays for few new ones.
"""

import math
from collections import defaultdict

from data_builders.analogseeker import agents
from data_builders.analogseeker.protocol import Request
from data_builders.core.headings import name_subjects
from data_builders.core.schema import Node, order
from data_builders.llm.bill import bill, together
from data_builders.llm.prompts import prompt
from data_builders.sources.facts import STANCES
from recipes.base.hashing import stable_id

SPARE = 1.2  # test questions asked for each one wanted: some are dropped by the gates
QUESTION_TOKENS = {"open": 60, "mcq": 130}  # of the question agent's reply, for the bill; the post-processor's is
SOLUTION_TOKENS = 200  # at most, of a worked answer behind its reasoning: all that the post-processor reads and writes
POST_TOKENS = 60  # and this much more, or for an open question the question again


class AgentPlanner:
    """Makes the requests of one corpus. `facts` and `formulas` are empty: a model is given whole nodes."""

    facts = formulas = ()

    def __init__(self, nodes, spec, seed):
        self.spec, self.seed, self.nodes = spec, seed, nodes
        self.held = self._held_out() if spec.tests.transfer else set()

    def _held_out(self):
        """Ids of the nodes kept for the transfer test, one family after another."""
        families = defaultdict(list)
        for node in self.nodes:
            families[node.family].append(node.node_id)
        queue = [
            (turn >= len(ids) // 2, turn, order(self.seed, "family", family), node_id)
            for family, ids in families.items()
            for turn, node_id in enumerate(sorted(ids, key=lambda node_id: order(self.seed, "held", node_id)))
        ]
        return {node_id for *_, node_id in sorted(queue)[: max(1, round(self.spec.transfer_share * len(queue)))]}

    def requests(self):
        """Every request: of each seen node `draws` for training, some for the test and for reinforcement; of each
        node held out as many choices as the transfer test needs.
        """
        seen, draws, tests = len(self.nodes) - len(self.held), self.spec.teacher.draws, self.spec.tests
        tested = math.ceil(SPARE * tests.knowledge / max(1, seen))
        # Reinforcement has at most half as many questions as training: each of them costs the same.
        rewarded = min(math.ceil(self.spec.rl_rows / max(1, seen)), max(1, draws // 2)) if self.spec.rl_rows else 0
        transfer = math.ceil(SPARE * tests.transfer / max(1, len(self.held)))
        found = []
        for place, node in enumerate(self.nodes):
            if node.node_id in self.held:
                found += [self._request(node, "mcq", draws + draw, "transfer") for draw in range(transfer)]
                continue
            found += [self._request(node, self._kind(place * draws + draw), draw, "sft") for draw in range(draws)]
            extra = [*["knowledge"] * tested, *["rl"] * rewarded]
            found += [self._request(node, "mcq", draws + number, split) for number, split in enumerate(extra)]
        return found

    def _kind(self, number):
        """Open or multiple choice, so that any first part of the draws keeps the shares of the mix."""
        mix = self.spec.mix
        share = mix.open / (mix.open + mix.mcq) if mix.open + mix.mcq else 0.5
        return "open" if math.floor((number + 1) * share) > math.floor(number * share) else "mcq"

    def _request(self, node, kind, draw, split):
        stance = STANCES[(draw + order("stance", node.node_id)) % len(STANCES)]
        subject = {"id": stable_id(node.node_id, stance, kind, draw), "title": title_of(node), "text": node.text}
        return Request(node.node_id, node.family, stance, kind, 0, draw, split, subject, None, 0)


def title_of(node: Node) -> str:
    """The headings of a node as a model reads them: without "Chapter 1" and the like, which it would speak of."""
    return ", ".join(name_subjects(node.path)) or node.book_id


def bill_of(requests, table, lengths):
    """The bill of the requests: prompts are counted from their own text, replies are as long as `lengths` has them,
    else as QUESTION_TOKENS say, and a worked answer as `reply_tokens` of the table. A second chance for an unusable
    reply is not in it.
    """
    reasoner = table.reasoner or table.model
    sent = written = asked = 0
    worked = lengths.of("answer", reasoner, table.reply_tokens)
    solution = min(SOLUTION_TOKENS, worked)
    for request in requests:
        question = lengths.of("question", table.model, QUESTION_TOKENS[request.kind])
        asked += agents.answer_chat(request, "", "", None).size + question
        sent += agents.question_chat(request, "").size + agents.post_chat(request, "", "", None, "").size
        sent += question + solution
        again = POST_TOKENS if request.kind == "mcq" else question
        written += question + lengths.of("post", table.model, solution + again)
    count = len(requests)
    answers = bill(table, count, asked, count * worked, reasoner)
    return together([bill(table, 2 * count, sent, written), answers])


def prompt_versions():
    """The versions of every prompt that a record goes through."""
    names = ("question_open", "question_mcq", "stances", "answer", "post")
    return " ".join(prompt(agents.PROMPTS / f"{name}.md").id for name in names)
