"""What questions to a model will come to, before any is asked."""

CHARACTERS = 4.2  # per token of English prose


def size(chat):
    """Tokens of a question, by its characters."""
    return round((len(chat.system) + len(chat.user)) / CHARACTERS)


def bill(table, requests, sent, written):
    """{"requests", "tokens_in", "tokens_out", "cost"} of so many requests and tokens, cost in dollars by the table."""
    cost = (sent * table.price_in + written * table.price_out) / 1e6
    return {"requests": requests, "tokens_in": sent, "tokens_out": written, "cost": cost}


def together(bills):
    """The sum of bills."""
    return {key: sum(part[key] for part in bills) for key in ("requests", "tokens_in", "tokens_out", "cost")}
