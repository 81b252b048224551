"""Which tags a figure's texts may have: names of data in them are texts, but for these few.

plotly reads a little HTML in every text. It runs none of it, but it drops what it does not know,
makes links of `<a>`, and sets colours: of a class that is called so, nothing would be seen.
"""

from __future__ import annotations

import json
import re
from typing import Any

TAGS = ("b", "br", "i", "sub", "sup", "extra")  # those that figures are made with
# In JSON by plotly, which writes < > and / by their numbers.
# A pair of backslashes is a letter of a name, and what follows it is no number.
_NO_TAG = re.compile(rf"\\\\|\\u003c(?!(?:\\u002f)?(?:{'|'.join(TAGS)})\\u003e)")


def with_plain_names(figure: str) -> str:
    """JSON of a figure, by plotly, in which `<` that begins none of TAGS is a letter."""
    return _NO_TAG.sub(lambda found: found[0] if found[0] == r"\\" else "&lt;", figure)


def moves_with_plain_names(moves: dict[str, Any]) -> dict[str, Any]:
    """The same of what moves in a figure, see `moves_of`; mostly they hold no text at all."""
    from plotly.io.json import to_json_plotly

    text = to_json_plotly(moves)
    plain = with_plain_names(text)
    return moves if plain == text else json.loads(plain)
