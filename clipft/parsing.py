"""YAML and JSON that anybody may have written: read within limits, or refused in one line.

Limits let real files pass: classes by the ten thousand, tokenizers, records of years. What is over
them is refused before it is parsed, or as soon as the parser meets it.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from typing import Any

import yaml

try:  # the same language, ten times faster where it was compiled
    from yaml import CSafeLoader as PlainLoader
except ImportError:
    from yaml import SafeLoader as PlainLoader

DEPTH = 100  # of lists and mappings in each other
YAML_BYTES = 4 << 20  # 20 000 classes with folders and other names have less than 2 MB
JSON_BYTES = 16 << 20
VALUES = 300_000  # of a YAML file
SHOWN = 200  # letters of a reason
LETTERS = 400  # of a number: no double has more digits before its point than 309
SEPARATORS = ",:[{\n\r\x85\u2028\u2029"  # YAML ends lines in five ways
TAG = "tag:yaml.org,2002:"
UNREAD = ("binary", "omap", "pairs", "set")  # kinds of values that nothing here can use
# what YAML 1.2 takes for a number with an exponent; YAML 1.1 wants a point and the exponent's sign
EXPONENT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
BRACKETS = re.compile(r"[\[\]{}]")
TEXTS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)  # nothing is tried twice
TEXTS_AND_BRACKETS = re.compile(f"{TEXTS.pattern}|{BRACKETS.pattern}", re.DOTALL)
HALF_LETTER = re.compile(r"\\u[dD][89a-fA-F]")


class ParseError(ValueError):
    """Why a text is not read, in one line; whoever reads it says which file it is of."""

    def __init__(self, why: str):
        shown = why if len(why) <= SHOWN else f"{why[:SHOWN]} ..."
        super().__init__(" ".join(shown.split()))


# --- YAML


class Written(float):
    """A number such as 1e-3, which YAML 1.1 takes for a text and YAML 1.2 does not.

    text: as it stands in the file.
    """

    text: str


def parse_yaml(text: str, *, written: bool = False) -> Any:
    """What a text of YAML says; raises ParseError where it is none, or beyond the limits.

    written: numbers with an exponent are `Written`, with or without a point; else they are texts.
    """
    # Each value has a separator before it, so this is at most what the parser would make.
    separators = sum(map(text.count, SEPARATORS))
    if len(text) > YAML_BYTES or separators > VALUES:
        size = f"{len(text) / 1e6:.1f} MB with about {separators} values"
        wanted = f"at most {YAML_BYTES >> 20} MB and {VALUES} values"
        raise ParseError(f"it has {size}; wanted: {wanted}")
    loader = None
    try:
        loader = _WrittenLoader(text) if written else _Loader(text)
        return loader.get_single_data()
    except ParseError:
        raise
    except yaml.YAMLError as error:
        raise ParseError(_fault_of(error)) from None
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        # A date of the 13th month, `!!int x`, `!!bool x`: what makes values raises what it likes.
        raise ParseError(f"a value is not what its kind says ({error!r:.80})") from None
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(PlainLoader):  # type: ignore[misc, valid-type]
    """Values of plain kinds, of a bounded depth, with each key once."""

    def __init__(self, text: str):
        super().__init__(text)
        self._has_aliases = "&" in text and "*" in text
        self._depth = 0
        self._checked: set[int] = set()

    def descend_resolver(self, node: Any, index: Any) -> None:
        """Called before the parser goes into a value: the compiled one does so on its own stack."""
        self._depth += 1
        if self._depth > DEPTH:
            raise ParseError(_too_deep(node))
        super().descend_resolver(node, index)

    def ascend_resolver(self) -> None:
        """Called after it."""
        self._depth -= 1
        super().ascend_resolver()

    def get_single_node(self) -> Any:
        """The tree of the text; raises ParseError where aliases stand for more than the limits."""
        node = super().get_single_node()
        if self._has_aliases and node is not None:
            _written_out(node, 1, {})
        return node

    def flatten_mapping(self, node: Any) -> None:
        """Called before a mapping is made; raises ParseError where a key stands there twice."""
        if id(node) not in self._checked:  # later it holds what was merged into it, too
            self._checked.add(id(node))
            _check_keys(node)
        super().flatten_mapping(node)

    def construct_yaml_int(self, node: Any) -> int:
        """A whole number, written in a bounded number of letters: Python takes time for more."""
        if len(str(node.value)) > LETTERS:
            raise ParseError(f"{_line_of(node)}: a number of {len(node.value)} letters")
        return super().construct_yaml_int(node)

    def construct_yaml_float(self, node: Any) -> float:
        """The same for a fraction."""
        if len(str(node.value)) > LETTERS:
            raise ParseError(f"{_line_of(node)}: a number of {len(node.value)} letters")
        return super().construct_yaml_float(node)


_Loader.add_constructor(f"{TAG}int", _Loader.construct_yaml_int)
_Loader.add_constructor(f"{TAG}float", _Loader.construct_yaml_float)
for _kind in UNREAD:
    del _Loader.yaml_constructors[TAG + _kind]


class _WrittenLoader(_Loader):
    """Reads 1e-3 as a number, too; what is quoted is text."""

    def construct_yaml_float(self, node: Any) -> float:
        """A fraction; with an exponent, as it was written."""
        if EXPONENT.fullmatch(node.value):
            number = Written(node.value)
            number.text = node.value
            return number
        return super().construct_yaml_float(node)


_WrittenLoader.add_implicit_resolver(f"{TAG}float", EXPONENT, list("-+.0123456789"))
_WrittenLoader.add_constructor(f"{TAG}float", _WrittenLoader.construct_yaml_float)


def _written_out(node: Any, depth: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """(values, levels) of a tree with its aliases written out; known: of the nodes seen before.

    Raises ParseError beyond the limits; an alias that holds itself has no end of levels.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1, 0
    values, levels = known.get(id(node), (1, 0))
    if depth + levels > DEPTH:
        raise ParseError(_too_deep(node))
    if id(node) not in known:
        for child in _children(node):
            more, below = _written_out(child, depth + 1, known)
            values += more
            levels = max(levels, 1 + below)
        known[id(node)] = values, levels
    if values > VALUES:
        raise ParseError(f"{_line_of(node)}: its aliases stand for more than {VALUES} values")
    return values, levels


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return list(itertools.chain.from_iterable(node.value))
    return node.value


def _check_keys(node: Any) -> None:
    """Raise ParseError where a key stands twice: the last one would win, and nobody be told."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[tuple[str, str], Any] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            first = seen.setdefault((key.tag, key.value), key)
            if first is not key:
                lines = f"line {first.start_mark.line + 1} and in {_line_of(key)}"
                raise ParseError(f"the key {key.value!r:.80} stands in {lines}; leave one out")


def _line_of(node: Any) -> str:
    return f"line {node.start_mark.line + 1}"


def _too_deep(node: Any) -> str:
    where = "" if node is None else f"{_line_of(node)}: "
    return f"{where}more than {DEPTH} levels of lists and mappings"


def _fault_of(error: yaml.YAMLError) -> str:
    """What is wrong and on which line, in one line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", "") or (str(error).splitlines() or [""])[0]
    return f"line {mark.line + 1}: {problem}" if mark else problem


# --- JSON


def parse_json(text: str) -> Any:
    """What a text of JSON says; raises ParseError where it is none, or beyond the limits."""
    if len(text) > JSON_BYTES:
        wanted = f"at most {JSON_BYTES >> 20} MB"
        raise ParseError(f"it has {len(text) / 1e6:.0f} MB; wanted: {wanted}")
    return parse_large_json(text)


def parse_large_json(text: str) -> Any:
    """The same of any size: notebooks and figures hold whole images."""
    if _is_too_deep(text):
        raise ParseError(f"it has more than {DEPTH} levels of lists and objects")
    try:
        content = json.loads(text, object_pairs_hook=_of_pairs)
    except json.JSONDecodeError as error:
        raise ParseError(f"line {error.lineno}: {error.msg}") from None
    except ParseError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise ParseError(str(error).partition(";")[0]) from None
    if HALF_LETTER.search(text):
        _check_letters(content)
    return content


def _is_too_deep(text: str) -> bool:
    """Whether more lists and objects are open at once than the limit; asked before they are parsed,
    which is done on the parser's own stack.
    """
    brackets = text.count("[") + text.count("{")
    if brackets <= DEPTH:
        return False
    if brackets <= VALUES:
        steps = map(STEPS.__getitem__, BRACKETS.findall(TEXTS.sub("", text)))
        return max(itertools.accumulate(steps), default=0) > DEPTH
    depth = 0  # of so many: one by one, to the first that is too deep
    for found in TEXTS_AND_BRACKETS.finditer(text):
        depth += STEPS.get(found[0], 0)
        if depth > DEPTH:
            return True
    return False


def _of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        (twice, _), *_ = counts.most_common(1)
        raise ParseError(f"the key {twice!r:.80} stands twice in one object; leave one out")
    return content


def _check_letters(content: Any) -> None:
    """Raise ParseError for half of a surrogate pair, which no file or terminal takes."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise ParseError(f"\\u{half:04x} is half of a letter") from None
