"""Methods: one file each, in the folder of its slot. `use = "NAME"` in a recipe's table loads `SLOT/NAME.py`.

A file has

    a docstring       its first line says what the method is; the paper
    VERSION           raise it when the same inputs give another result
    PAPER             "arXiv …", or empty
    NEEDS             what the engine has to provide: "reference_model", "base_model", "base_tokenizer", "group",
                      "value_head", "rows"
    LOGS              {key: (title, unit)} of what it logs or measures
    Config(Method)    its table: typed, with units and ranges; importing the file must not import torch
    find_conflicts    (own, scope) -> Conflicts with what does not go with it, and CONFLICTS, an example for each

and one function:

    select     select(rows, own, context) -> (kept rows, [(row, reason)])
    augment    augment(rows, own, context) -> new rows
    mix        mix(rows, own, context) -> rows of other sources
               context: recipes.artifacts.rows_context.RowsContext; count_rows(own, rows) -> rows after it, for `plan`
    adapters   make_config(own, targets) -> peft configuration, or None where every weight learns
               count_weights(own, maps) -> weights that it adds beside maps of (inputs, outputs); none where every
               weight learns; count_kept(own) -> values that the backward pass keeps of each token and map
               register() makes peft know a type of its own (PEFT_TYPE); MERGEABLE = False where it cannot be merged
    losses     make_loss(own, context) -> recipes.models.loss_protocol.Loss
               HISTORY = {key of the trainer's log: key in training.jsonl}
    rl         make_trainer(own, context) -> trainer; context: recipes.models.rl_context.RlContext
               UNREAD: settings of [rl] that it does not look at; READS_IMAGES; a key `iterations`: steps on a rollout;
               count_completions(rl, rows) where it samples another number of replies than the others;
               PILOT: the method whose steps tell the pace of one that samples before its steps
    edit       edit(own, context) -> metrics; leaves adapter/ or model/; context:
    recipes.models.edit_context.EditContext
    infer      answer(own, context) -> recipes.models.answering.Answering
               READS: files of the data that decide what it gives, beside those that every evaluation reads
    probe      measure(own, context) -> numbers
    env        make_environment(own, context) -> a factory of environments in TRL's form

A method may be a folder with `__init__.py`; it never imports another method. A file outside this repository counts the
same: `methods/SLOT/NAME.py` beside the recipe file, or an entry point of the group `recipes.SLOT`.
"""
