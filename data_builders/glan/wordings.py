"""The sentences in which the expert asks. The last wording of a meaning and of a relation is kept for graded questions;
graded calculations differ from trained ones in their numbers."""

MEANING = (
    "What is {noun}?",
    "What is meant by {noun}?",
    "How is {noun} defined?",
    "Say what {noun} is.",
    "Tell what {noun} is.",
    "Name what {noun} is.",
)
TERM = ("Which term means: {meaning}?", "Name the term for: {meaning}.")
WHICH = ("Which of {names} means: {meaning}?", "Out of {names}, which one means: {meaning}?")
BOTH = ("What are {names}?",)
HOLDER = ("Which of {names} {verb} {value}?", "Out of {names}, which one {verb} {value}?")  # combines concepts
NOTE = "Note: {facts} Question: {asked}"  # what the question needs stands in front of it
ASKED = {
    # No wording may say more than the verb: what a thing needs is not all that there is without it.
    "depends on": ("On what does {noun} depend?", "What does {noun} depend on?"),
    "needs": ("What does {noun} need?", "What is needed by {noun}?"),
    "gives": ("What does {noun} give?", "What is given by {noun}?"),
    "has": ("What does {noun} have?", "Which of its features does {noun} have?"),
    "causes": ("What does {noun} cause?", "What is caused by {noun}?"),
    "reduces": ("What does {noun} reduce?", "What is reduced by {noun}?"),
    "comes from": ("Where does {noun} come from?", "What is the source of {noun}?"),
    "is measured in": ("In what is {noun} measured?", "Which unit has {noun}?"),
    "consists of": ("What does {noun} consist of?", "What makes up {noun}?"),
    "is used for": ("What is {noun} used for?", "Which purpose has {noun}?"),
}
RELATION = {
    verb: (*asked, *(f"{say} what {{noun}} {verb}." for say in ("Say", "Tell", "Name")))
    for verb, asked in ASKED.items()
}
COMPUTE = (
    "Use {noun}: {givens}. Find the {quantity}.",
    "Apply {noun} to {givens}. What is the {quantity}?",
)
SELECT = (
    "Choose what fits of {names}: {givens}. Find the {quantity}.",
    "One of {names} is needed here: {givens}. What is the {quantity}?",
)
