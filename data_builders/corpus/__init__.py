"""Reading: a folder of Markdown, Quarto or plain text, with optional sidecar facts, becomes cleaned learning nodes."""
