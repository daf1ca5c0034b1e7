"""Which model a run has come to: the stages that leave one, and what of them has to be loaded."""

TRAINED = ("cpt", "sft_general", "sft", "rl")  # in the order in which they run


def start(model, done, until=None):
    """(the whole model, the adapter on it or None) that the stages in `done` came to, no later one than `until`.

    Each stage leaves a whole model, or an adapter for the whole model before it that holds all that was learnt since.

    Args:
        model: the recipe's `[model]` table.
        done: stage -> artefact folder; others than those of `TRAINED` do not matter.

    Returns:
        The table with the name of the folder in place of the base's where a stage left a whole model; the folder of
        the newest adapter after it.
    """
    adapter = None
    for stage in TRAINED:
        if stage in done and (done[stage] / "model").is_dir():
            model = model.model_copy(update={"name": str((done[stage] / "model").resolve()), "revision": "main"})
            adapter = None
        elif stage in done:
            adapter = done[stage] / "adapter"
        if stage == until:
            break
    return model, adapter
