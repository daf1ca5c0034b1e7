"""Which filters a row has passed: `lineage.filters`, in the order in which they ran; what did not run is not named."""

from dataclasses import replace

TESTS, BENCHMARKS = "test items", "benchmarks"  # what finish() compares training rows with


def passed(rows, *filters):
    """The rows with these filters behind those that their lineage names already."""
    found = [(row, [*row.lineage.get("filters", ()), *filters]) for row in rows]
    return [replace(row, lineage=row.lineage | {"filters": names}) for row, names in found]


def apart(leaks):
    """The filters that a training row passes in `finish` with these `finish.Leaks`: none where nothing is compared."""
    own = [TESTS] if leaks.outside or leaks.kinds or leaks.alike else []
    return own + ([BENCHMARKS] if leaks.outside else [])
