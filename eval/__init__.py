"""How answers are scored: pure graders, and the lm-eval tasks that use them."""
