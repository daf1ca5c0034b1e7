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
ASKED = {
    "depends on": ("On what does {noun} depend?", "What decides about {noun}?"),
    "needs": ("What does {noun} need?", "Without what is there no {name}?"),
    "gives": ("What does {noun} give?", "What comes out of {noun}?"),
    "has": ("What does {noun} have?", "What is true of {noun}?"),
    "causes": ("What does {noun} cause?", "What follows from {noun}?"),
    "reduces": ("What does {noun} reduce?", "What becomes less by {noun}?"),
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
