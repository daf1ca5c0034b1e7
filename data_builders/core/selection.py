"""Which of many records are taken: spread evenly over their groups, and the surplus counted."""

from collections import defaultdict

from data_builders.core.schema import order

SURPLUS = "more than asked for"  # the reason of what was good and not needed


def in_turns(records, group, seed):
    """The records in an order that takes one of each group in turn, so that any first part of it is spread evenly."""
    groups = defaultdict(list)
    for record in records:
        groups[group(record)].append(record)
    ranked = [
        (turn, order(seed, "turn", record.id), record)
        for members in groups.values()
        for turn, record in enumerate(members)
    ]
    return [record for _, _, record in sorted(ranked, key=lambda entry: entry[:2])]


def first(records, size, step, ledger):
    """The first `size` records; the others are counted as more than was asked for."""
    for record in records[size:]:
        ledger.drop(step, SURPLUS, record.id, record.question[:120])
    ledger.keep(step, len(records[:size]))
    return records[:size]
