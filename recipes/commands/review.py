"""`review`: a sheet on which an expert judges rows of the data, and what the expert's answers say."""

from recipes.artifacts import store
from recipes.base.errors import RecipeError
from recipes.report import review


def run(job, data, count, answers, again):
    """Write the sheet of the job's newest data (or of the artefact `data`), or take in a file of answers; the text.

    `again` is this command without --items and --read.
    """
    folder = data or store.latest(job.home).get("data")
    if folder is None or not (folder / store.MANIFEST).is_file():
        raise RecipeError(
            "there are no data to review yet",
            where=folder or job.home,
            fix="name the folder of an artefact" if data else f"{job.command} --until data",
        )
    if answers is None:
        title = f"{job.recipe.name}: {job.recipe.summary}" if job.recipe.summary else job.recipe.name
        sheet = review.write_sheet(folder, count, job.recipe.seed, title)
        return (
            f"{sheet}\nOpen it in a browser, judge the rows, save the answers, then:\n"
            f"{again} --read answers-{folder.name.removeprefix('data-')}.json"
        )
    if not answers.is_file():
        raise RecipeError(
            "no such file of answers", where="--read", got=answers, fix="save the answers with the sheet's button first"
        )
    found = review.hand_in(answers, folder)
    wrong = "; the next run leaves out the rows judged wrong, and those of the same facts" if found.wrong else ""
    return f"{found.sentence}\n{review.folder_of(folder) / review.ANSWERS}; the next report shows it{wrong}"
