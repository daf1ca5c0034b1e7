"""The sentences in which the expert asks. The last wording of each kind is kept for graded questions."""

MEANING = ("What is {noun}?", "What is meant by {noun}?", "Say what {noun} is.", "Which description fits {noun}?")
TERM = ("Which term means: {meaning}?", "Name the term for: {meaning}.")
WHICH = ("Which of {names} means: {meaning}?", "Out of {names}, which one means: {meaning}?")
BOTH = ("What are {names}?",)
RELATION = {
    "depends on": ("On what does {noun} depend?", "What decides about {noun}?", "Name what {noun} depends on."),
    "needs": ("What does {noun} need?", "Without what is there no {name}?", "Name what {noun} needs."),
    "gives": ("What does {noun} give?", "What comes out of {noun}?", "Name what {noun} gives."),
    "has": ("What does {noun} have?", "What is true of {noun}?", "Name what {noun} has."),
    "causes": ("What does {noun} cause?", "What follows from {noun}?", "Name what {noun} causes."),
    "reduces": ("What does {noun} reduce?", "What becomes less by {noun}?", "Name what {noun} reduces."),
    "comes from": ("Where does {noun} come from?", "What is the source of {noun}?", "Name what {noun} comes from."),
    "is measured in": ("In what is {noun} measured?", "Which unit has {noun}?", "Name what {noun} is measured in."),
    "consists of": ("What does {noun} consist of?", "What makes up {noun}?", "Name what {noun} consists of."),
    "is used for": ("What is {noun} used for?", "Which purpose has {noun}?", "Name what {noun} is used for."),
}
COMPUTE = (
    "Use {noun}: {givens}. Find the {quantity}.",
    "Apply {noun} to {givens}. What is the {quantity}?",
    "With {givens}, work out the {quantity} by {noun}.",
)
SELECT = (
    "Choose what fits of {names}: {givens}. Find the {quantity}.",
    "One of {names} is needed here: {givens}. What is the {quantity}?",
    "With {givens}, take one of {names} and work out the {quantity}.",
)


def listing(parts, word="and"):
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + f" {word} " + parts[-1]
