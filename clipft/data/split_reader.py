"""The rows of a manifest's splits: from lists, folders, a table or a known layout, with their masks
and groups.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import seed_of
from ..errors import ConfigError, unknown
from ..progress import say
from .folders import class_key, complete
from .layouts.asked import Asked
from .layouts.readers import READERS
from .lists import ListFile, Rows, folder_of, mixed_folders, repeats
from .made_shifts import Made
from .splits import PARTS, Decoding, Split, SplitName, hold_out

if TYPE_CHECKING:
    from .manifests import Manifest


class SplitReader:
    """Reads the splits of a manifest, each once."""

    def __init__(self, data: Manifest):
        self.data = data
        self._splits: dict[str, Split] = {}
        self._parts: dict[str, dict[str, Split]] = {}  # by domain

    def split(self, name: str) -> Split:
        """`domain/part`, read once.

        Where val has no list it is held out of train, of each class, always the same rows; see
        `folders.complete` for data sets of class folders. Raises ConfigError on an unknown domain
        or part, one without images, a malformed line or a label outside the classes.
        """
        asked = SplitName.parse(name)
        made = self.data.made.get(asked.domain)
        if made is not None:
            return self._made(made, asked.part)
        if name not in self._splits:
            split = self._read_split(name)
            self._splits[name] = replace(
                split,
                decoding=replace(self.data.decoding, border=split.decoding.border),
                allowed=self._allowed(split),
                groups=self._groups_of(split),
            )
        return self._splits[name]

    def _made(self, made: Made, part: str) -> Split:
        """The reference's val or test, disturbed as it is read; raises ConfigError for train."""
        if part not in PARTS[1:]:
            given = [f"{made.domain}/{known}" for known in PARTS[1:]]
            raise unknown("split", f"{made.domain}/{part}", given)
        split = self.split(str(SplitName(self.data.made_of, part)))
        return replace(split, domain=made.domain, decoding=replace(split.decoding, made=made))

    def has(self, name: str) -> bool:
        """Whether `domain/part` has any image listed; a list that is there is not read for it.

        Raises ConfigError where the data set is not there, or has no such domain.
        """
        part = SplitName.parse(name).part
        if SplitName.parse(name).domain in self.data.made:
            return part in PARTS[1:] and self.has(str(SplitName(self.data.made_of, part)))
        domain = self.data.check_domain(SplitName.parse(name).domain)
        if self.data.emoji is not None:
            counts = self.data.emoji.per_class.items()
            return self.data.holdout > 0 or any(count for known, count in counts if known == part)
        if self.data.has_tree:
            return part in self.parts(domain)
        if self.data.holdout and part != "test":
            return len(self.split(name)) > 0
        return self._list_file(domain, part).is_file()

    def _allowed(self, split: Split) -> tuple[int, ...]:
        """The labels that a domain's logits are masked to, rising; () for all.

        Raises ConfigError for a name of no class, and where an image has a label that is masked.
        """
        classes = self.data.mask.get(split.domain, ())
        if not classes:
            return ()
        if classes == "found":
            # The same for all parts of a domain: its classes are those of what is reported.
            test = split if split.part == "test" else self._read_split(f"{split.domain}/test")
            labels = set(test.labels)
        else:
            labels = {self._label_of_name(name, split.domain) for name in classes}
        beside = sorted(set(split.labels) - labels)
        if beside:
            name = self.data.class_names[beside[0]].name
            count = f"{len(beside)} of the classes of {split.name} are masked, e.g. {name!r}"
            raise ConfigError(f"{count}; wanted: all in mask, or mask: {{{split.domain}: found}}")
        return tuple(sorted(labels))

    def _label_of_name(self, name: str, domain: str) -> int:
        """The label of a class in a mask, by its name or its folder."""
        label = self.label_in(name)
        if label is None:
            label = self._label_of_text.get(name)
        if label is None:
            raise ConfigError(f"mask of {domain}: {unknown('class', name, self._label_of_text)}")
        return label

    @cached_property
    def _label_of_text(self) -> dict[str, int]:
        return {name.name: label for label, name in enumerate(self.data.class_names)}

    def _groups_of(self, split: Split) -> tuple[str, ...]:
        """The group of each row, where images are grouped."""
        if not self.data.groups:
            if "worst_group" in self.data.scored_by and self.data.table and not split.groups:
                no_column = f"{self.data.table}: no column of groups, which worst_group needs"
                raise ConfigError(f"{no_column}; wanted: one called group, or groups: class")
            return split.groups
        return tuple(self.data.class_names[label].name for label in split.labels)

    def _read_split(self, name: str) -> Split:
        part = SplitName.parse(name).part
        domain = self.data.check_domain(SplitName.parse(name).domain)
        if part not in PARTS:
            raise unknown("split", name, [f"{domain}/{known}" for known in PARTS])
        if self.data.has_tree:
            return self._read_tree(domain, part)
        if not self.data.holdout or part == "test":
            return self._read_list(domain, part)

        if domain not in self._parts:
            whole = self._read_list(domain, "train")
            seed = seed_of(0, f"holdout:{self.data.name}:{domain}")
            train, val = hold_out(whole, "val", self.data.holdout, seed)
            self._parts[domain] = {"train": train, "val": val}
        return self._parts[domain][part]

    def parts(self, domain: str) -> dict[str, Split]:
        """Train, val and test of class folders or a table, as many as there are; made once."""
        if domain not in self._parts:
            if self.data.kept:
                found = self._read_kept(domain)
            else:
                found = self.data.tree.parts(domain, self.label_of_key)
            is_reference = domain in self.data.trained
            purpose = f"{self.data.name}:{domain}"
            self._parts[domain] = complete(
                found, self.data.holdout, purpose, is_reference=is_reference
            )
        return self._parts[domain]

    def _read_kept(self, domain: str) -> dict[str, Split]:
        """The parts of a domain in a known layout, as the data set's own files name them."""
        root = self.data.root_folder()
        kept = self.data.kept[domain]
        asked = Asked(
            self.data.source / kept.folder,
            kept.folder,
            domain,
            folders=self.data.label_of_folder,
            heading=self.data.heading,
            cache=root,
        )
        parts = {}
        for part, rows in READERS[kept.layout](asked).items():
            say(rows.notes)
            if rows.ids:
                parts[part] = Split(
                    domain,
                    part,
                    root,
                    ids=tuple(rows.ids),
                    labels=tuple(rows.labels),
                    groups=tuple(rows.groups),
                    alike=rows.alike,
                    decoding=Decoding(border=rows.border),
                )
        return parts

    @cached_property
    def label_of_key(self) -> Mapping[str, int]:
        """The label of each class by what all spellings of its folder share."""
        return {class_key(folder): label for folder, label in self.data.label_of_folder.items()}

    def _read_tree(self, domain: str, part: str) -> Split:
        parts = self.parts(domain)
        if part in parts:
            return parts[part]

        root = self.data.root_folder()
        if not parts:
            known = ", ".join(self.data.names[:3])
            problem = f"{root} has no image of {domain} in a folder of its classes ({known} ...)"
            if self.data.table:
                problem = f"{self.data.table} has no row of {domain} and its classes ({known} ...)"
            raise ConfigError(f"{problem}; wanted: {self.data.folders or self.data.table}")
        found = ", ".join(f"{len(parts[name])} {name}" for name in PARTS if name in parts)
        problem = f"{domain} of {self.data.name} has no {part} images ({found})"
        if domain not in self.data.trained:
            advice = f"to train on it: reference={domain}"
        elif not self.data.holdout and "train" in parts:
            advice = "hold some out of train, e.g. holdout: 0.2"
        elif "train" in parts:
            advice = "a class needs three images: one for train, one for val, one for test"
        elif self.data.table:
            advice = f"wanted: rows of split train in {self.data.table}, or no column of splits"
        else:
            advice = f"wanted: a folder train in {root}, or class folders without splits"
        raise ConfigError(f"{problem}; {advice}")

    def _read_list(self, domain: str, part: str) -> Split:
        file = self._list_file(domain, part)
        if not file.is_file():
            problem = f"no list file {file}; {self.data.heading} keeps one per domain and split"
            if part == "val":
                problem += "; or hold some of train out: holdout: 0.2 in its manifest; or train to"
                problem += " the end: selection=last"
            raise ConfigError(problem)

        root = self.data.root_folder()

        rows = ListFile(file, root, self.data.outside).rows(self._listed_label)
        say(self._notes_on_list(file, rows))
        if not rows.ids:
            why = "; ".join(rows.left_out.lines())
            raise ConfigError(f"no row of {file} is an image; {why}" if why else f"{file} is empty")
        return Split(domain, part, root, ids=tuple(rows.ids), labels=tuple(rows.labels))

    def _list_file(self, domain: str, part: str) -> Path:
        name = self.data.lists.replace("{domain}", domain).replace("{split}", part)
        return self.data.root_folder() / name

    def label_in(self, folder: str) -> int | None:
        """The label of a class folder, as it is called or in another spelling of one class."""
        label = self.data.label_of_folder.get(folder)
        return self._label_of_spelling.get(class_key(folder)) if label is None else label

    @cached_property
    def _label_of_spelling(self) -> Mapping[str, int]:
        """Class key -> label, where it means one class."""
        keys = Counter(class_key(folder) for folder in self.data.label_of_folder)
        return {key: label for key, label in self.label_of_key.items() if keys[key] == 1}

    def _listed_label(self, folder: str, listed: str, where: str) -> int:
        """The label of what lies in a folder; raises ConfigError that says `where`."""
        if self.data.labels == "folder":
            own = posixpath.basename(folder)
            label = self.label_in(own)
            if label is None:
                problem = unknown("class folder", own, self.data.label_of_folder)
                raise ConfigError(f"{where}: {problem}")
            return label

        count = len(self.data.class_names)
        digits = listed.lstrip("0")
        label = int(digits or "0") if len(digits) <= len(str(count)) else count + 1
        if label >= count:
            wanted = f"expected one below {count}, see {self.data.classes_source}"
            hint = "; labels start at 0" if label == count else ""
            raise ConfigError(f"{where}: label {listed:.24}, {wanted}{hint}")
        return label

    def _notes_on_list(self, file: Path, rows: Rows) -> list[str]:
        """What a person should know of a list file, a line each."""
        notes = [*rows.left_out.lines(), *repeats(rows)]
        if self.data.labels == "folder":
            notes += mixed_folders(rows)
        else:
            notes += self._contradictions(rows)
        return [f"{file}: {note}" for note in notes]

    def _contradictions(self, rows: Rows) -> list[str]:
        """Where folders that are called as classes say another label than the list."""
        odd = set()
        for (folder, _), label in rows.of_folders.items():
            own = self.label_in(posixpath.basename(folder[:-1]))
            if own is not None and own != label:
                odd.add((folder, label))
        if not odd:
            return []
        pairs = zip(rows.ids, rows.labels, strict=True)
        wrong = [(path, label) for path, label in pairs if (folder_of(path), label) in odd]
        path, label = wrong[0]
        count = f"{len(wrong)} of {len(rows.ids)} labels contradict the class folders"
        ways = "the list is used; labels: folder would take the folders"
        return [f"{count}, e.g. {path} as {self.data.class_names[label].name!r}; {ways}"]
