"""Who answers the requests of a build, and the replies, with a progress bar and what they cost."""

from collections import Counter

from data_builders.analogseeker.agents import Agents
from data_builders.analogseeker.expert import Expert
from data_builders.analogseeker.protocol import in_order
from data_builders.llm.asking import open_teacher
from data_builders.sources.reader import count_tokens


def taught(table, requests, path, bar, say, gate):
    """(teacher's name, replies in the order of the requests, what they cost).

    `path` is the file of stored replies; the expert needs none and costs nothing. `gate(request, reply)` says why no
    record can be made of a model's reply, or None. Raises RecipeError where a model's endpoint, budget or replies end
    the run.
    """
    if table.kind == "expert":
        total = len({request.id for request in requests})
        return Expert.name, _replies(Expert(), requests, bar, total, "requests", None), {}
    asker = open_teacher(table, path, say)
    try:
        agents = Agents(table, asker, gate)
        replies = _replies(agents, requests, bar, len(requests), "records", asker)
        return agents.name, replies, {"teacher": asker.figures()}
    except BaseException:
        say(f"teacher: {asker.spent()} so far, kept in {path}")
        raise
    finally:
        asker.close()


def _replies(teacher, requests, bar, total, unit, asker):
    splits, tokens = Counter(), Counter()
    with bar("teacher", total, unit) as progress:

        def arrived(reply):
            tokens["all"] += count_tokens(reply.question) + count_tokens(reply.thinking) + count_tokens(reply.solution)
            splits["declined" if reply.declined else "kept"] += 1
            spent = asker.spent() if asker else f"about {tokens['all']:,} tokens"
            progress.advance(1, f"{splits['declined']} declined, {spent}")

        return in_order(teacher, requests, arrived)
