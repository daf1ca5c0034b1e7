"""Stages: one file each, found by its name. A table `[NAME.stage]` of a recipe, or a step with `use = "stage"`, runs
it.

A file has

    VERSION           raise it when the same inputs give another result
    PLACE             its place in the default chain: data 0, rows 10, cpt 20, sft 40, rl 60, … evaluate 90
    LEAVES            "rows", "model" (a folder adapter/ or model/), "reranker" or "scores"
    TITLE             what the report calls its training; none where nothing is trained
    TABLE             name of its table where that is not the stage's own
    CHATS             whether it asks or teaches the base in chat turns: its template is looked at before rows are made
    UNREAD            kinds of steps before it that are no input of it in the default chain
    Config(Table)     its table
    find_conflicts    (own, scope) -> Conflicts, with CONFLICTS, an example for each
    list_reads(spec)  {"rows": patterns, "models": patterns, …}: files of the inputs that decide the result
    name_rows(spec)   stem of the file of rows that it learns, where it learns one
    find_inputs(spec) what else from outside decides the result, {name: files or version}; may be left out
    forecast(spec, counts, runs) -> Work          rows, steps, tokens, before anything is spent
    describe_need(own, adapter) -> Need           what it holds in memory at once (recipes.artifacts.memory), where it
                                                  loads the base; `adapter` is the one that learns
    pilot(spec, inputs, runtime) -> float         tokens per second from a few seconds of work; may be left out
    run(spec, inputs, out, runtime) -> metrics    with "tokens"

`run` reads only `inputs` ({"data": rows, step: its folder}), writes only under `out`, and knows nothing of caching,
other steps or how many processes carry it out. `out` may hold an earlier attempt that was killed: go on from it. What a
model starts from is `recipes.artifacts.lineage.start(spec.model, inputs)`. Torch is imported inside functions.
"""
