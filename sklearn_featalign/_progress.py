"""How far a long call is, and how long it will take: for methods without callbacks."""

import logging
import time

# Lines are at least so many seconds apart; without them, a call that takes longer than
# a minute is announced.
_SECONDS = 5.0
_LONG = 60.0

_logger = logging.getLogger("sklearn_featalign")


class Progress:
    """Tells how many rows are done, and the time that is left.

    Parameters
    ----------
    name : str
        What is done to the rows.
    n_rows : int
        Number of all rows.
    verbose : bool or int
        If true, lines are printed; otherwise a long call is announced once, as a
        warning of the logger "sklearn_featalign".
    """

    def __init__(self, name, n_rows, verbose):
        self.name = name
        self.n_rows = n_rows
        self.verbose = verbose
        self.start = self.told = time.monotonic()
        self.is_announced = False

    def __call__(self, n_done):
        """Take note of the number of rows that are done."""
        now = time.monotonic()
        seconds = now - self.start
        left = seconds * (self.n_rows - n_done) / n_done
        is_end = n_done == self.n_rows
        if self.verbose:
            if is_end or now - self.told >= _SECONDS:
                state = (
                    f"in {duration(seconds)}" if is_end else f"{duration(left)} left"
                )
                print(f"[{self.name}] {n_done} of {self.n_rows} rows, {state}")
                self.told = now
        elif left > _LONG and not self.is_announced:
            self.is_announced = True
            _logger.warning(
                "%s of %d rows will take about %s; verbose=True shows how far it is.",
                self.name,
                self.n_rows,
                duration(seconds + left),
            )


def duration(seconds):
    """Return a number of seconds in words."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
