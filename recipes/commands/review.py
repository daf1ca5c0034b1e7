"""`review`: a sheet on which an expert judges rows of the data, and what the expert's answers say."""

from recipes import artefact
from recipes.errors import RecipeError
from recipes.report import review


def run(job, data, count, answers):
    """Write the sheet of the job's newest data (or of the artefact `data`), or take in a file of answers; the text."""
    folder = data or artefact.latest(job.home).get("data")
    if folder is None or not (folder / artefact.MANIFEST).is_file():
        raise RecipeError(
            "there are no data to review yet",
            where=folder or job.home,
            fix=f"python -m recipes run {job.recipe.name} --profile {job.recipe.profile} --until data",
        )
    if answers is None:
        title = f"{job.recipe.name}: {job.recipe.summary}" if job.recipe.summary else job.recipe.name
        sheet = review.write_sheet(folder, count, job.recipe.seed, title)
        return (
            f"{sheet}\nOpen it in a browser, judge the rows, save the answers, then:\n"
            f"python -m recipes review {job.recipe.name} --read answers-{folder.name.removeprefix('data-')}.json"
        )
    found = review.hand_in(answers, folder)
    return f"{found.sentence}\n{review.folder_of(folder) / review.ANSWERS}; the next report shows it"
