"""`report`: the newest run's report again, or one leaderboard over all runs."""

from recipes import pipeline
from recipes.artifacts import store
from recipes.base.errors import RecipeError


def report(job):
    """Write the report of the newest finished run of the job's recipe and profile."""
    done = store.latest(job.home)
    if "evaluate" not in done:
        raise RecipeError(
            "no evaluated run of this recipe yet",
            where=job.home,
            got=", ".join(done) or "nothing",
            fix=job.command,
        )
    with store.lock(job.home):
        pipeline.report(job, done, always=True)


def leaderboard(runs, run):
    """Write one leaderboard over every run under `runs`; `run` is the command that makes one."""
    from recipes.report.leaderboard import write_leaderboard
    from recipes.report.seeds import as_text

    if not any(runs.glob("*/*/evaluate-????????")):
        raise RecipeError("no evaluated run yet", where=runs, fix=f"{run}, or give another folder with --runs")
    page, repeated = write_leaderboard(runs, runs / "leaderboard")
    for repetition in repeated:
        print(*as_text(repetition), "", sep="\n")
    print(page)
