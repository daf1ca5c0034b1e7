"""An end for work that might never come to one."""

import signal
from contextlib import contextmanager


@contextmanager
def ends_within(seconds: float):
    """Raise TimeoutError in work that takes more than so many seconds of this process's own processor time.

    What other processes do does not count. Give hundreds of times what the work takes: this is for work whose steps
    multiply with the size of what it is given, and no measure of speed.
    """

    def give_up(*_):
        raise TimeoutError(f"not done after {seconds:g} s of processor time")

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
