"""Terms that a training loss may get beside the cross-entropy."""
