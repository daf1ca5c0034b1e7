"""`chat`: talk to the newest result of a recipe."""

from recipes.models import checkpoints


def run(job, *, model=None, question=None):
    """Answer `question` once, or converse until an empty line or end of input.

    `model` is base, a training stage, or None for the newest.
    """
    recipe, (stage, done) = job.recipe, checkpoints.choose(job, model)
    loaded, reader = checkpoints.load(recipe, done)
    limit = recipe.settings("evaluate").max_new_tokens
    if question is not None:
        print(checkpoints.reply(loaded, reader, [{"prompt": [{"role": "user", "content": question}]}], limit)[0])
        return
    print(f"{recipe.name} {stage}: type a question; an empty line ends")
    messages = []
    while line := ask():
        messages.append({"role": "user", "content": line})
        answer = checkpoints.reply(loaded, reader, [{"prompt": messages}], limit)[0]
        messages.append({"role": "assistant", "content": answer})
        print(answer)


def ask():
    try:
        return input("> ").strip()
    except EOFError:
        return ""
