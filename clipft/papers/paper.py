"""A paper: its items by name, its captions, and the file of what is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..disk.files import write_csv
from ..errors import unknown
from .item import Item, Made, Ours
from .published import called

if TYPE_CHECKING:
    from typing import Self

PAPERS = ("lipsum_ft", "flyp", "wise_ft")  # modules beside this one, each with its PAPER

# Last sentences of captions.
UNLIKE = "Its model and data set may be others than ours: compare directions, not sizes."
ALONE = "We have no numbers of the paper for this item, so none stand beside ours."


@dataclass(frozen=True)
class Paper:
    """One paper: the name of its module and of the CSV of its numbers, its title, its items."""

    name: str
    title: str
    arxiv: str
    items: Mapping[str, Item]

    @classmethod
    def named(cls, name: str) -> Self:
        """The paper of this name; raises ConfigError for an unknown one."""
        if name not in PAPERS:
            raise unknown("paper", name, PAPERS)
        return import_module(f".{name}", __package__).PAPER

    def make(self, name: str, results: pd.DataFrame, runs: Path | str) -> Made:
        """One item by its name, e.g. table_1 or figure_4.

        Arguments:
            name: of `items`.
            results: the tidy results of the finished runs in the folder `runs`.
            runs: that folder.

        Returns:
            The item, its caption ending with where the paper's numbers are from.

        Raises:
            ConfigError: for an unknown name, and for runs that the item does not compare.
        """
        if name not in self.items:
            raise unknown("item", name, self.items)
        item = self.items[name]
        if not item.csv:
            item = replace(item, csv=self.name)
        made = item.draw(item, Ours(results, Path(runs)))
        made.figure.update_layout(meta={"paper": self.title})  # a batch's page groups by it
        return replace(made, caption=f"{made.caption} {self._beside(item, made)}".rstrip())

    def _beside(self, item: Item, made: Made) -> str:
        """Where the numbers beside ours are from; empty where an item has none."""
        if not item.has_numbers:
            return ""
        if not item.number:
            return ALONE
        marked = "Rows marked paper, ± its own" if made.rows else "Hollow"
        return f"{marked}: {self.title}'s {called(item.number)}. {UNLIKE}"

    def file_name(self, name: str, part: str = "") -> str:
        """What an item's files are called, so that they lie in order: `lipsum_ft_table_01`.

        part: of our runs that the item is drawn of, e.g. a model; it comes last.
        """
        kind, _, number = name.rpartition("_")
        numbered = f"{kind}_{int(number):02d}" if number.isdigit() else name
        return "_".join(filter(None, (self.name, numbered, part)))

    def save_rows(self, made: Made, folder: Path | str, name: str, part: str = "") -> None:
        """Write what stands in an item as CSV beside its figure, where there is a folder for it.

        A table's blocks one below the other; a figure's points with the ids of our runs, their
        seeds, numbers of images, and the command that makes what is missing.
        """
        if not folder:
            return
        rows = made.drawn
        if made.rows:
            rows = pd.concat([frame.assign(block=title) for title, frame in made.rows.items()])
        write_csv(Path(folder) / f"{self.file_name(name, part)}.csv", rows)
