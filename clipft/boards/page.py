"""Boards in files: a page that opens offline and needs no kernel, and parts of such a page."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..disk.files import check_target, write_json, write_text
from ..disk.inside import check_file_name
from ..errors import ClipftError
from ..figures.markup import with_plain_names
from ..figures.pages import Insteads, heading_of, packed_plotly, save_figure
from ..progress import headless, progress_bar
from . import scripts
from .desk import Answer, Board, Question, key_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

BOARD = "application/vnd.clipft.board+json"  # a board as a part of a cell's output
JSON = "json"  # the blob of an answer that is no array
NO_ROOM = "This page had no room for it: it needs a kernel."
ROOM = 7_000_000  # bytes of arrays that a page may hold, packed; libraries come on top
ROOM_OF_PAGE = 20_000_000  # of all boards in a page, beyond which figures stand in their place
Record = dict[str, Any]  # {about, state, answers, blobs, images, left_out}


def record_of(board: Board) -> Record:
    """A board with all answers that fit into a page, as JSON.

    Arrays lie in `blobs` by the digest of their content, so that boards of one page share them.
    Answers that do not fit, and such as nobody has, are left out: the view says so.
    """
    record: Record = {
        "about": board.about,
        "state": board.state,
        "answers": {},
        "blobs": {},
        "images": {},
        "left_out": 0,
    }
    room = ROOM
    if board.images is not None:
        images = board.images()
        record["images"] = {images.of: {n: _base64(image) for n, image in images.by_id.items()}}
        room -= sum(map(len, record["images"][images.of].values()))
    full: set[str] = set()  # kinds of questions of which one had no room: no other is tried
    for question in progress_bar(_by_weight(board), "page", "answer", show=not headless()):
        kind = f"{question['what']} {question.get('name')}"
        told: Record = {"error": NO_ROOM}
        if kind not in full:
            try:
                told, packed = _told(board.desk.answer(question))
            except ClipftError as error:
                told = {"error": str(error)}
                packed = {}
            new = {digest: text for digest, text in packed.items() if digest not in record["blobs"]}
            size = sum(map(len, new.values()))
            if size > room:
                full.add(kind)
                told = {"error": NO_ROOM}
            else:
                room -= size
                record["blobs"] |= new
        record["left_out"] += told.get("error") == NO_ROOM
        record["answers"][key_of(question)] = told
    return record


def _by_weight(board: Board) -> list[Question]:
    """The questions of a page: what is short, what is seen first, and what other runs are asked."""
    first = (None, board.state.get("run"))

    def rank(question: Question) -> int:
        if question["what"] == "about":
            return 0
        return 1 if question.get("run") in first else 2

    return sorted(board.desk.saved(), key=rank)


def _told(answer: Answer) -> tuple[dict[str, Any], dict[str, str]]:
    """An answer whose content lies elsewhere, and that: digest -> its bytes, gzip, as base64."""
    text = json.dumps(answer.json, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    contents = {JSON: text.encode(), **answer.buffers()}
    digests = {}
    blobs = {}
    for name, content in contents.items():
        digest = hashlib.sha256(content).hexdigest()[:16]
        digests[name] = digest
        blobs[digest] = _base64(gzip.compress(content, compresslevel=6, mtime=0))
    return {"kinds": answer.kinds, "blobs": digests}, blobs


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def page_of(record: Record, title: str, caption: str = "") -> str:
    """A whole page that holds one board."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f"<title>{html.escape(title)}</title><style>{scripts.style_of_page()}</style>"
    said = f"<p>{html.escape(caption)}</p>" if caption else ""
    heading = f"<h1>{html.escape(title)}</h1>{said}"
    body = f"<main>{heading}{place_of(record)}</main>{last_of([record], plotly=True)}"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{body}</body></html>\n"


def place_of(record: Record) -> str:
    """Where a board stands in a page; below all of them comes `last_of`."""
    own = {name: record[name] for name in ("about", "state", "answers")}
    own["imagesOf"] = next(iter(record["images"]), "")
    return f"<div class='clipft-board-place'></div>{_json(own)}"


def last_of(records: Sequence[Record], *, plotly: bool) -> str:
    """What the boards of a page share, and what opens them; once, below them.

    plotly: whether it brings plotly.js, which a page with figures has already.
    """
    blobs: dict[str, str] = {}
    images: dict[str, dict[str, str]] = {}
    for record in records:
        blobs |= record["blobs"]
        for of, by_id in record["images"].items():
            images[of] = by_id | images.get(of, {})
    libraries = {}
    panes = [pane for record in records for pane in record["about"]["panes"]]
    if any("runs" in pane for pane in panes):
        libraries["datatables"] = _base64(scripts.packed("datatables"))
    shared = packed_plotly() if plotly else ""
    shared += _json(blobs, "clipft-blobs") + _json(libraries, "clipft-libraries")
    shared += _json(images, "clipft-images")
    return f"{shared}<script>{_in_script(scripts.saved())}</script>"


def _json(value: Any, name: str = "") -> str:
    """JSON that a page holds; nothing in it ends the script."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    label = f" id='{name}'" if name else ""
    return f"<script type='application/json'{label}>{_in_json(text)}</script>"


def _in_json(text: str) -> str:
    return text.replace("<", "\\u003c")


def _in_script(text: str) -> str:
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def save_explorer(
    figure: go.Figure, record: Record | None, folder: Path | str, name: str, caption: str = ""
) -> Path:
    """Write an explorer as NAME.html, which needs no kernel; returns the file.

    NAME.json lies beside it: its static twin, for images, and the board, for the index. Without a
    record it is the twin alone.
    """
    if record is None:
        return save_figure(figure, folder, name, caption)
    target = Path(folder) / f"{check_file_name(name, of='an explorer')}.html"
    twin = json.loads(with_plain_names(figure.to_json()))
    write_json(target.with_suffix(".json"), {"figure": twin, "caption": caption, "board": record})
    write_text(target, page_of(record, heading_of(twin, name), caption))
    return target


class BoardsOfPage:
    """The boards that stand in place of figures in one page, which has plotly.js."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.room = ROOM_OF_PAGE
        self.held: set[str] = set()  # digests of what the page has already, and image ids

    @property
    def insteads(self) -> Insteads:
        """See `write_index`."""
        return Insteads(self._place, self._last, scripts.style())

    def _place(self, spec: Record) -> str:
        record = spec.get("board")
        if record is None:
            return ""
        parts = dict(record["blobs"])
        for of, by_id in record["images"].items():
            parts |= {f"{of} {name}": image for name, image in by_id.items()}
        new = parts.keys() - self.held
        size = sum(len(parts[name]) for name in new)
        if size > self.room:
            return ""  # the figure stands there; the explorer has a page of its own
        self.room -= size
        self.held |= new
        self.records.append(record)
        return place_of(record)

    def _last(self) -> str:
        return last_of(self.records, plotly=False) if self.records else ""


def save_board(board: Board, target: Path | str, title: str) -> Path:
    """Write a board as one self-contained page that opens offline; returns the file.

    Raises ConfigError where the file cannot be written there.
    """
    file = Path(target)
    check_target(file)
    write_text(file, page_of(record_of(board), title))
    return file
