"""A search for the smallest width that passes: double or halve, then bisect."""

from collections.abc import Mapping
from typing import NamedTuple


class Search(NamedTuple):
    """How far a search is.

    Attributes:
        low: The widest width below `high` that failed; 0 if none has.
        high: The narrowest width that passed; None while none has.
        wanted: The width to try next; None where the search has ended.
    """

    low: int
    high: int | None
    wanted: int | None

    @property
    def is_bracketed(self) -> bool:
        """Whether it ended with a width that passed, the one below it having failed."""
        return self.wanted is None and self.high is not None

    @property
    def is_censored(self) -> bool:
        """Whether it ended at the widest width that may be tried, which failed."""
        return self.wanted is None and self.high is None


def search_width(passed: Mapping[int, bool], *, first: int, cap: int) -> Search:
    """Go through a search as far as its outcomes are known.

    From `first` it doubles while widths fail and halves while they pass, then bisects
    until the bracket is one wide. It goes by the outcomes alone, so that it goes on
    where it was. Where outcomes are not monotone in the width it ends at one of the
    places at which a failure is followed by a pass, not always at the lowest.

    Args:
        passed: Whether each width that was tried passed.
        first: The width to begin with, at most `cap`.
        cap: The widest width that may be tried.
    """
    low, high, width = 0, None, first
    while width in passed:
        if passed[width]:
            high = width
        else:
            low = width
        if low == cap or (high is not None and high - low == 1):
            return Search(low, high, None)
        width = min(2 * low, cap) if high is None else (low + high) // 2
    return Search(low, high, width)
