"""From manifests and lm-eval results to a verdict: statistics and pages. Imports no machine-learning package."""
