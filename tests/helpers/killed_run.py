"""`recipes` as a process that kills itself at a point of its work: there its own progress bar stands.

python -m tests.helpers.killed_run TITLE DONE WORDS_OF_THE_COMMAND_LINE...
"""

import os
import signal
import sys

from recipes import cli
from recipes.base.runtime import Bar


def kill_at(title: str, done: int) -> None:
    """Let SIGKILL end this process when a bar of that title has counted so many units."""
    advance = Bar.advance

    def advance_or_die(bar, n=1, note=None):
        advance(bar, n, note)
        if bar.title == title and bar.done >= done:
            os.kill(os.getpid(), signal.SIGKILL)

    Bar.advance = advance_or_die


if __name__ == "__main__":
    kill_at(sys.argv[1], int(sys.argv[2]))
    sys.exit(cli.main(sys.argv[3:]))
