"""A reading process: units in on standard input, replies out on standard output, one JSON object a line."""

import json
import sys
from dataclasses import asdict


def main():
    opening = json.loads(sys.stdin.buffer.readline())
    bound_memory(opening["settings"]["limits"]["memory_bytes"])
    from data_builders.sources.document import Limits, Settings, Shared
    from data_builders.sources.nodes import read_unit
    from data_builders.sources.sources import Unit

    settings = Settings(**opening["settings"] | {"limits": Limits(**opening["settings"]["limits"])})
    shared = Shared(**opening["shared"])
    for line in sys.stdin.buffer:
        reply = read_unit(Unit(**json.loads(line)), settings, shared)
        error = reply.error
        answer = {
            "nodes": [asdict(node) for node in reply.nodes],
            "facts": {node_id: entry.model_dump() for node_id, entry in reply.facts.items()},
            "terms": reply.terms,
            "drops": reply.drops,
            "kept": reply.kept,
            "unknown": reply.unknown,
            "error": error and [str(part) for part in (error.what, error.where, error.got, error.allowed, error.fix)],
        }
        sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        sys.stdout.buffer.flush()


def bound_memory(size):
    """An upper bound on this process's address space, where the system has one."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass  # the time limit still holds


if __name__ == "__main__":
    main()
