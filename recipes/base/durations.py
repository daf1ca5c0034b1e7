"""Times and sizes as readers want them: rounded to the last unit that is shown, which may make a larger one full."""


def format_duration(seconds: float) -> str:
    """Seconds in words of at most two parts: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest:02d} min"


def format_size(count: float) -> str:
    """Bytes in decimal units: `512 B`, `31 MB`, `1.43 GB`."""
    for unit in ("B", "kB", "MB"):
        if round(count) < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
