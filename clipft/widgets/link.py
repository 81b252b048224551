"""One alpha, one run and one selection for several explorers of a page."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from .base import Explorer, W, kernel_and_request


def link(first: Explorer, *others: Explorer) -> None:
    """Make alpha, the run and the selection of several explorers one: where one moves, all move.

    Images that are taken by a lasso on a map are then those that a WiSE slider, a reliability
    diagram and a class table show. In the page, without the kernel; and where a program sets one,
    the others follow. What an explorer does not have, or a run that it does not know, stays.

    Arguments:
        first: an explorer; the others go where it stands.
        others: more of them.

    Raises:
        ConfigError: where one of them shares nothing with the first.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> wise, calibration = clipft.WiseExplorer(run), clipft.ReliabilityExplorer(run)
        >>> clipft.link(wise, calibration)
        >>> wise.alpha = 0.3
        >>> calibration.alpha
        0.3
    """
    bonds = []
    for other in others:
        names = [name for name in _shared(first) if name in _shared(other)]
        if not names:
            kinds = f"a {type(first).__name__} and a {type(other).__name__}"
            raise ConfigError(f"{kinds} share no alpha, run or selection to link")
        bonds += [(other, name) for name in names]
    for other, name in bonds:
        Bond(first, other, name)


def _shared(explorer: Any) -> list[str]:
    """What an explorer can have in common with others."""
    if not isinstance(explorer, Explorer):
        return []
    state = explorer.board.state
    return [name for name in explorer.shared if name in state and explorer.has_trait(name)]


class Bond:
    """Two explorers of which one trait is one, until one of them is closed.

    Arguments:
        first: an explorer.
        other: another, which goes where the first stands.
        name: of the trait.
    """

    def __init__(self, first: Any, other: Any, name: str):
        self.name = name
        self.explorers = (first, other)
        self._pass_on(getattr(first, name))
        # One that does not know all runs of the other is told of those that it knows, from here.
        is_alike = name != "run" or first.known_runs == other.known_runs
        self.in_page = W.jslink((first, name), (other, name)) if is_alike else None
        for explorer in self.explorers:
            explorer.observe(self._follow, name)
            explorer.links = [*explorer.links, self]

    def close(self) -> None:
        """Part them."""
        if self.in_page is not None:
            self.in_page.close()
        for explorer in self.explorers:
            explorer.unobserve(self._follow, self.name)
            explorer.links = [bond for bond in explorer.links if bond is not self]

    def _follow(self, change: dict) -> None:
        """One was set: the other is it, too.

        What was moved in the page has moved the other there, which tells so itself: a word from
        here would come late, and pull a slider back.
        """
        _, request = kernel_and_request()
        is_from_page = request.get("header", {}).get("msg_type") == "comm_msg"
        if self.in_page is None or not is_from_page:
            self._pass_on(change["new"])

    def _pass_on(self, value: Any) -> None:
        for explorer in self.explorers:
            if self.name == "run" and value not in explorer.known_runs:
                continue
            setattr(explorer, self.name, value)
