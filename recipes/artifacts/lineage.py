"""Which model a run has come to: the stages that leave one, and what of them has to be loaded."""

from recipes.config.stage_list import STAGES

TRAINED = tuple(stage.name for stage in STAGES if stage.leaves == "model")  # in the order in which they run


def reads_models(name):
    """What the READS of the stage `name` says of the models that stages before it leave: {stage: patterns of files}."""
    names = [stage.name for stage in STAGES]
    place = names.index(name)
    left = [stage for stage in names[:place] if stage in TRAINED and stage not in STAGES[place].unread]
    return {stage: ["adapter/*", "model/*"] for stage in left}


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
