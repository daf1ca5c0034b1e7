"""Reading: a folder of documents, with optional sidecar facts, becomes cleaned learning nodes."""
