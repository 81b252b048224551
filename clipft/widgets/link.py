"""One alpha for several explorers of a page."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from .base import Explorer, W, kernel_and_request


def link(first: Explorer, *others: Explorer) -> None:
    """Make the alpha of several explorers one: whichever slider is moved, all of them move.

    In the page, without the kernel; and where a program sets one alpha, the others follow.

    Arguments:
        first: an explorer with a slider of alpha; the others go where it stands.
        others: more of them.

    Raises:
        ConfigError: where one of them has no alpha.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> wise, calibration = clipft.WiseExplorer(run), clipft.ReliabilityExplorer(run)
        >>> clipft.link(wise, calibration)
        >>> wise.alpha = 0.3
        >>> calibration.alpha
        0.3
    """
    for explorer in (first, *others):
        if not (isinstance(explorer, Explorer) and explorer.has_trait("alpha")):
            kind = type(explorer).__name__
            raise ConfigError(f"a {kind} has no alpha to link; a WiseExplorer has one")
    for other in others:
        Bond(first, other)


class Bond:
    """Two explorers whose alpha is one, until one of them is closed.

    Arguments:
        first: an explorer with a slider of alpha.
        other: another, which goes where the first stands.
    """

    def __init__(self, first: Any, other: Any):
        other.alpha = first.alpha
        self.explorers = (first, other)
        self.in_page = W.jslink((first.slider, "value"), (other.slider, "value"))
        for explorer in self.explorers:
            explorer.observe(self._follow, "alpha")
            explorer.links = [*explorer.links, self]

    def close(self) -> None:
        """Part them."""
        self.in_page.close()
        for explorer in self.explorers:
            explorer.unobserve(self._follow, "alpha")
            explorer.links = [bond for bond in explorer.links if bond is not self]

    def _follow(self, change: dict) -> None:
        """One alpha was set: the other is it, too.

        What was moved in the page has moved the other slider there, which tells so itself: a word
        from here would come late, and pull the slider back.
        """
        _, request = kernel_and_request()
        if request.get("header", {}).get("msg_type") == "comm_msg":
            return
        for explorer in self.explorers:
            explorer.alpha = change["new"]
