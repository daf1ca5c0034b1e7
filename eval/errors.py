"""What is wrong with the data of a task."""


class TaskDataError(ValueError):
    """The data of a task is missing, malformed or leaks: what is wrong, where, what was got, what to do."""

    def __init__(self, what: str, where: object, got: object, fix: str):
        super().__init__(f"{what}\n  where: {where}\n  got:   {got}\n  fix:   {fix}")


class NoTestRows(TaskDataError):
    """The data is sound but holds no row of the task's kind: a corpus without formulas has no calculations."""
