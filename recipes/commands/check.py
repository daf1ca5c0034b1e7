"""`check`: every recipe under every profile, and the gold answers of the data that is already built."""

from recipes.artifacts.store import latest
from recipes.base.errors import ConfigErrors, RecipeError
from recipes.config.conflicts import list_outside
from recipes.config.load import load, profiles, read_file
from recipes.config.request_counts import warnings
from recipes.config.schema import DEFAULT_PROFILE
from recipes.models.base_check import describe_base, is_at_hand


def check(file, name, runs, profile=None, sets=(), more=""):
    """Print what was checked; 1 where something is wrong, with every error of every recipe, else 0.

    Without `profile` every profile is checked, with `sets` applied last. `more` is the command that looks at the rest.
    """
    tables = read_file(file)
    problems = []
    for recipe in [name] if name else tables:
        chosen = [profile] if profile else profiles(tables.get(recipe, {}))
        found = wrong(file, recipe, chosen, sets, profile or DEFAULT_PROFILE)
        problems += found
        if found:
            continue
        print(f"{recipe}: {', '.join(chosen)} valid")
        for each in chosen:
            loaded = load(file, recipe, each, sets, here=False)
            if outside := list_outside(loaded.steps):
                print(f"{recipe}: {each}: methods from outside: {', '.join(outside)}")
            for text in warnings(loaded):
                print(f"{recipe}: {each}: warning: {text}")
            try:
                if is_at_hand(loaded.model) and (told := describe_base(loaded.model)):
                    print(f"{recipe}: {each}: {told}")
            except RecipeError as error:
                problems.append(error)
            data = latest(runs / recipe / each).get("data")
            if data:
                from recipes.artifacts.proofs import prove_gold

                print(f"{recipe}: {each}: {prove_gold(data)} gold answers score 1.0, empty replies 0.0")
            else:
                print(f"{recipe}: {each}: gold answers will be proven when the data stage has built them")
    if problems:
        raise ConfigErrors(problems)
    print(f"not looked at: packages, graphics cards, models in the cache, keys of teachers; for these:  {more}")
    return 0


def wrong(file, recipe, chosen, sets, here):
    """The problems of a recipe under the profiles `chosen`, each once; folders are looked for under the profile `here`
    alone, for the others may be meant for another machine."""
    found = {}
    for profile in chosen:
        try:
            load(file, recipe, profile, sets, here=profile == here)
        except ConfigErrors as error:
            found |= {str(problem): problem for problem in error.problems}
    return list(found.values())
