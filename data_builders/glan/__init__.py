"""Builder of the glan recipe: a taxonomy of human knowledge to instructions and answers, without seed data."""
