"""Sorting out: gates, duplicates, leaks, and the ledger that accounts for every dropped row."""
