"""clipft: fine-tune CLIP and see what happens to its robustness.

The public names are those of `__init__.pyi`; each is imported when it is first used, so that
importing clipft costs nothing.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

__version__ = "0.1.0"


def _homes() -> dict[str, str]:
    """Public name -> the module it lives in, read from the lines that type checkers read."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    homes = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            for public in node.names:
                homes[public.name] = f".{node.module}"
    return homes


_HOME = _homes()
__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'clipft' has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
