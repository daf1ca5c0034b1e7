"""Raw sources to rows: read and clean, ask a teacher, sort out, split. No torch, nothing from `recipes` or `eval`."""
