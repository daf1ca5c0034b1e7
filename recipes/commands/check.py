"""`check`: every recipe under every profile, and the gold answers of the data that is already built."""

from recipes.artefact import latest
from recipes.checks import warnings
from recipes.errors import ConfigErrors
from recipes.loader import load, profiles, read_file


def check(file, name, runs):
    """Print what was checked; 1 where something is wrong, with every error of every recipe, else 0."""
    tables = read_file(file)
    problems = []
    for recipe in [name] if name else tables:
        try:
            load(file, recipe)
        except ConfigErrors as error:
            problems += error.problems
            continue
        print(f"{recipe}: {', '.join(profiles(tables[recipe]))} valid")
        for profile in profiles(tables[recipe]):
            for text in warnings(load(file, recipe, profile, here=False)):
                print(f"{recipe}: {profile}: warning: {text}")
            data = latest(runs / recipe / profile).get("data")
            if data:
                from recipes.stages.data import prove_gold

                print(f"{recipe}: {profile}: {prove_gold(data)} gold answers score 1.0, empty replies 0.0")
            else:
                print(f"{recipe}: {profile}: gold answers will be proven when the data stage has built them")
    if problems:
        raise ConfigErrors(problems)
    return 0
