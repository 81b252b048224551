"""What a notebook's file says before it runs: its cells, its language, what it can be given."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from ..errors import ConfigError, unknown
from ..parsing import Written

KINDS = {"str", "int", "float", "bool", "list", "dict", "None"}  # annotations that are checked
WRITTEN_AS = {"tuple": "list", "set": "list", "NoneType": "None"}  # a default's type -> its kind
PLAIN = (str, int, float, type(None))  # with lists and mappings of them, what reaches a notebook
TAG = "parameters"
MAGIC = re.compile(r"^\s*[%!?].*$", re.MULTILINE)  # lines of IPython, in which nothing is assigned
PYTHON = ("python", "python3", "ipython")
OTHER_KERNELS = {"ir": "R", "julia": "Julia", "bash": "Bash", "xcpp": "C++"}  # by how names begin


@dataclass(frozen=True)
class Parameters:
    """What the cell tagged `parameters` assigns: name -> its kinds, () where anything will do.

    Kinds are those of the annotation, else that of the default. defaults: the values that are
    written out there, not computed.
    """

    notebook: Path
    cell: int  # its number, from 1; 0: there is none
    kinds: dict[str, tuple[str, ...]]
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def _place(self) -> str:
        return f"{self.notebook.name}, cell {self.cell} (`{TAG}`)"

    def take(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as the notebook gets them: dates as texts of ISO 8601, 1e-3 as a number.

        Raises ConfigError for a parameter that the notebook lacks, a value of another kind than
        there, and one that no notebook can be given.
        """
        taken = {}
        for name, value in values.items():
            self._check_name(name)
            kinds = self.kinds[name]
            meant = _number_or_text(value, kinds) if isinstance(value, Written) else value
            taken[name] = self._plain(name, meant)
            self._check_kind(name, taken[name], kinds)
        return taken

    def _check_name(self, name: str) -> None:
        if not self.cell:
            problem = f"has no cell tagged `{TAG}`, so nothing can set {name!r}"
            raise ConfigError(f"{self.notebook.name} {problem}")
        if not self.kinds:
            raise ConfigError(f"{self._place} assigns nothing, so nothing can set {name!r}")
        if name not in self.kinds:
            raise unknown(f"parameter of {self.notebook.name}", name, self.kinds)

    def _check_kind(self, name: str, value: Any, kinds: tuple[str, ...]) -> None:
        if not kinds or _fits(value, kinds):
            return
        problem = f"{name} is {value!r:.80}, of type {type(value).__name__}"
        wanted = " or ".join(kinds)
        if name in self.defaults:
            wanted += f", as its default {self.defaults[name]!r:.40}"
        hint = ""
        if "str" in kinds and not isinstance(value, dict | list):
            hint = "; quote what is a text"
        raise ConfigError(f"{self._place}: {problem}; expected {wanted}{hint}")

    def _plain(self, name: str, value: Any) -> Any:
        """The value in what JSON has, however deep; raises ConfigError where it has no such."""
        if isinstance(value, Written):
            return float(value)
        if isinstance(value, date):  # or a date with a time
            return value.isoformat()
        if isinstance(value, list):
            return [self._plain(name, inner) for inner in value]
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    problem = f"{name} has the key {key!r:.40}, of type {type(key).__name__}"
                    raise ConfigError(f"{self._place}: {problem}; expected a text: quote it")
            return {key: self._plain(name, inner) for key, inner in value.items()}
        if not isinstance(value, PLAIN):
            problem = f"{name} is {value!r:.80}, of type {type(value).__name__}"
            wanted = "text, numbers, true, false, null, a list or a mapping"
            raise ConfigError(f"{self._place}: {problem}; expected {wanted}")
        return value


def _number_or_text(value: Written, kinds: tuple[str, ...]) -> Any:
    """1e3 for a parameter of these kinds: the text where it takes texts, else the number."""
    if "str" in kinds:
        return value.text
    if "int" in kinds and "float" not in kinds and value.is_integer():
        return int(value)
    return float(value)


def _fits(value: Any, kinds: tuple[str, ...]) -> bool:
    """Whether a value is of one of these kinds; a whole number is a float, too, True is none."""
    kind = _kind(value)
    return kind in kinds or (kind == "int" and "float" in kinds)


def _kind(value: Any) -> str:
    """What a value is, in the words of annotations; a tuple is written as a list."""
    name = type(value).__name__
    return WRITTEN_AS.get(name, name)


def read_parameters(notebook: Path) -> Parameters:
    """Read a notebook's parameters cell.

    Raises ConfigError where the file is no notebook or not in Python, the cell no Python, and where
    there are two of them: papermill puts the values after the first.
    """
    content = read_notebook(notebook)
    _check_language(notebook, content.get("metadata") or {})
    number, source = _parameters_cell(notebook, cells_of(content))
    try:
        statements = ast.parse(MAGIC.sub("", source)).body
    except SyntaxError as error:
        place = f"{notebook.name}, cell {number} (`{TAG}`)"
        raise ConfigError(f"{place} is not valid Python: {error}") from None

    kinds: dict[str, tuple[str, ...]] = {}
    defaults: dict[str, Any] = {}
    for statement in statements:
        for name, default in _assigned(statement):
            defaults.pop(name, None)
            if default:
                (defaults[name],) = default
            kinds[name] = tuple(map(_kind, default))
            if isinstance(statement, ast.AnnAssign):
                kinds[name] = _kinds(statement.annotation, default)
            elif kinds[name] == ("None",) or not KINDS.issuperset(kinds[name]):
                kinds[name] = ()
    return Parameters(notebook, number, kinds, defaults)


def _assigned(statement: ast.stmt) -> list[tuple[str, tuple[Any, ...]]]:
    """Each name that a statement assigns, and its value, () where that is not written out."""
    if isinstance(statement, ast.AnnAssign):
        targets: list[ast.expr] = [statement.target]
    elif isinstance(statement, ast.Assign):
        targets = statement.targets
    else:
        return []
    assigned = []
    for target in targets:
        if isinstance(target, ast.Name):
            assigned.append((target.id, _literal(statement.value)))
        elif isinstance(target, ast.Tuple | ast.List):  # a, b = 1, 2
            names = [each.id for each in target.elts if isinstance(each, ast.Name)]
            assigned += [(name, ()) for name in names]
    return assigned


def _literal(value: ast.expr | None) -> tuple[Any, ...]:
    """The value, alone, that stands there written out; none where it is computed."""
    if value is None:
        return ()
    try:
        return (ast.literal_eval(value),)
    except (ValueError, TypeError):
        return ()


def _kinds(annotation: ast.expr, default: tuple[Any, ...]) -> tuple[str, ...]:
    """Names in KINDS that an annotation such as `list[float] | None` allows; () for any other."""
    words = [word.partition("[")[0].strip() for word in ast.unparse(annotation).split("|")]
    if default == (None,):
        words.append("None")
    words = [WRITTEN_AS.get(word, word) for word in words]
    if not KINDS.issuperset(words):
        return ()
    return tuple(dict.fromkeys(words))


def _parameters_cell(notebook: Path, cells: list[dict[str, Any]]) -> tuple[int, str]:
    """(number from 1, source) of the cell tagged `parameters`; (0, "") without one."""
    tagged = []
    for number, cell in enumerate(cells, start=1):
        if TAG in tags_of(cell):
            tagged.append((number, source_of(cell)))
            if cell["cell_type"] != "code":
                problem = f"cell {number} is tagged `{TAG}` but is no code"
                raise ConfigError(f"{notebook.name}: {problem}; tag the cell that assigns them")
    if len(tagged) > 1:
        numbers = " and ".join(str(number) for number, _ in tagged)
        problem = f"cells {numbers} are tagged `{TAG}`; values are put in after the first"
        raise ConfigError(f"{notebook.name}: {problem}, and the next would undo them: keep one tag")
    return tagged[0] if tagged else (0, "")


def _check_language(notebook: Path, metadata: Mapping[str, Any]) -> None:
    """Raise ConfigError for a notebook that says it is not in Python; many say nothing."""
    kernel = metadata.get("kernelspec") or {}
    about = metadata.get("language_info") or {}
    language = str(about.get("name") or kernel.get("language") or "")
    if not language:
        name = str(kernel.get("name") or "")
        found = [known for begin, known in OTHER_KERNELS.items() if name.startswith(begin)]
        language = found[0] if found and name not in PYTHON else ""
    if language and language.lower() not in PYTHON:
        raise ConfigError(f"{notebook.name} is in {language}; a batch runs notebooks in Python")


def tags_of(cell: Mapping[str, Any]) -> list[str]:
    """The tags of a cell; its metadata may be left out."""
    return (cell.get("metadata") or {}).get("tags") or []


def source_of(cell: Mapping[str, Any]) -> str:
    """The text of a cell, which a file may hold in lines; in nbformat 3 code is `input`."""
    return "".join(cell["source"] if "source" in cell else cell["input"])


def cells_of(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cells of what a notebook's file holds; until nbformat 3 they lay in worksheets."""
    if "worksheets" not in content:
        return content["cells"]
    return [cell for sheet in content["worksheets"] for cell in sheet["cells"]]


def read_notebook(notebook: Path) -> dict[str, Any]:
    """What a notebook's file holds; raises ConfigError where it is none."""
    try:
        content = json.loads(notebook.read_text(encoding="utf-8-sig"))
        for cell in cells_of(content):
            if not isinstance(cell["cell_type"] + source_of(cell), str):
                raise TypeError
            tags_of(cell)
        return content
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"cannot read {notebook}: {reason}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ConfigError(f"{notebook} is not a notebook: no valid JSON with cells")
