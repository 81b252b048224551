"""What is wrong with a drawn figure: texts cut, dropped, one over another; points out of view.

`MEASURE` looks at the SVG's boxes as the browser drew them, against the figure's own JSON.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from clipft.figures.pages import library, painter

TOUCH = 1.5  # pixels by which two labels may reach into each other, and one beyond the frame

# Lay out and draw a figure as pages and images do, in a place of this width; what is wrong with it.
DRAW = """async ([text, width, native]) => {
    document.body.innerHTML = '<div id="place"></div>';
    const place = document.getElementById('place');
    const figure = JSON.parse(text);
    const drawn = JSON.parse(text);
    const layout = native ? drawn.layout : fitted(drawn, width);
    if (!native) layout.template = CLIPFT_THEMES.light;
    await Plotly.newPlot(place, drawn.data, layout, {staticPlot: true});
    return measure(place, figure, TOUCH);
}"""

MEASURE = """
const TOUCH = %s;
const bare = (text) => String(text ?? '').replace(/<[^>]*>|&nbsp;|\\s|\\u200b/g, '')
    .replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&amp;/g, '&').replace(/\\u2212/g, '-');
const corners = ({x, y, width, height}, matrix) =>
    [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
        .map(([x, y]) => new DOMPoint(x, y).matrixTransform(matrix)).map(({x, y}) => [x, y]);
const ends = (values) => [Math.min(...values), Math.max(...values)];

// How far two convex quads reach into each other, along the direction in which that is least.
function depth(a, b) {
    let least = Infinity;
    for (const quad of [a, b]) for (let i = 0; i < 2; i++) {
        const [dx, dy] = [quad[i + 1][0] - quad[i][0], quad[i + 1][1] - quad[i][1]];
        const length = Math.hypot(dx, dy) || 1;
        const along = (points) => ends(points.map(([x, y]) => (x * dx + y * dy) / length));
        const [[lowA, highA], [lowB, highB]] = [along(a), along(b)];
        least = Math.min(least, Math.min(highA, highB) - Math.max(lowA, lowB));
    }
    return least;
}

// How far a quad reaches out of a box.
function beyond(quad, [left, top, right, bottom]) {
    const [[x0, x1], [y0, y1]] = [0, 1].map((axis) => ends(quad.map((corner) => corner[axis])));
    return Math.max(left - x0, x1 - right, top - y0, y1 - bottom);
}

const box = (element) => {
    const {left, top, right, bottom} = element.getBoundingClientRect();
    return [left, top, right, bottom];
};

// The boxes that hide what reaches out of them, of an element and all around it.
function windows(element, place) {
    const found = [];
    for (let at = element; at && at !== place; at = at.parentElement) {
        const id = /url\\(["']?#([^"')]*)/.exec(at.getAttribute('clip-path') ?? '')?.[1];
        const clip = id && document.getElementById(id)?.querySelector('rect');
        if (!clip) continue;
        const quad = corners(clip.getBBox(), at.getScreenCTM());
        const [[x0, x1], [y0, y1]] = [0, 1].map((axis) => ends(quad.map((corner) => corner[axis])));
        found.push([x0, y0, x1, y1]);
    }
    return found;
}

// Every visible text: its whole, its lines' quads without the air above and below letters, its kind.
function texts(place) {
    const found = [];
    for (const element of place.querySelectorAll('.main-svg text')) {
        const style = getComputedStyle(element);
        if (!element.textContent.trim() || style.visibility === 'hidden' || style.opacity === '0') continue;
        if (!element.getClientRects().length || element.closest('.hoverlayer, .modebar')) continue;
        const rows = [...element.querySelectorAll('tspan.line')];
        const quads = [];
        for (const line of rows.length ? rows : [element]) {
            const {x, y, width, height} = line.getBBox();
            if (width) quads.push(corners({x, y: y + height * 0.12, width, height: height * 0.76}, line.getScreenCTM()));
        }
        found.push({element, whole: bare(element.textContent), said: element.textContent, quads});
    }
    return found;
}

const titled = (title) => (typeof title === 'string' ? title : title?.text);

// Every text that the figure's JSON, and the axes made of its data, want to be read.
function wanted({data, layout}, {_fullLayout: full, _fullData: traces}) {
    const texts = [titled(layout.title)];
    for (const note of layout.annotations ?? []) texts.push(note.text);
    for (const [name, axis] of Object.entries(layout)) {
        if (!/^[xy]axis/.test(name) || axis.visible === false) continue;
        texts.push(titled(axis.title));
        if (axis.showticklabels !== false && !axis.matches) texts.push(...(axis.ticktext ?? []));
    }
    for (const [name, axis] of Object.entries(full)) {
        if (/^[xy]axis/.test(name) && axis.type === 'category' && axis.visible && axis.showticklabels) {
            texts.push(...axis._categories);
        }
    }
    for (const trace of traces) {
        if (full.showlegend && trace.showlegend && trace.type !== 'table' && trace.visible === true) {
            texts.push(trace.name);
        }
    }
    for (const {type, header, cells, text, mode} of data) {
        if (type === 'table') texts.push(...header.values, ...cells.values.flat());
        if (mode?.includes('text')) texts.push(...[text].flat());
    }
    return [...new Set(texts.map(bare))].filter(Boolean);
}

function measure(place, figure, touch) {
    const found = [];
    const frame = box(place.querySelector('.main-svg'));
    const all = texts(place);
    for (const {element, said, quads} of all) {
        const frames = [frame, ...windows(element, place)];
        const out = Math.max(...frames.flatMap((window) => quads.map((quad) => beyond(quad, window))));
        if (out > touch) found.push(`cut by ${out.toFixed(0)} px: ${said}`);
    }

    const drawn = new Set(all.map(({whole}) => whole));
    for (const text of wanted(figure, place)) if (!drawn.has(text)) found.push(`not drawn: ${text}`);

    const isNear = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
    for (const one of all) one.box = box(one.element);
    all.forEach((one, i) => all.slice(i + 1).forEach((other) => {
        if (!isNear(one.box, other.box)) return;
        const most = Math.max(...one.quads.flatMap((a) => other.quads.map((b) => depth(a, b))));
        if (most > touch) found.push(`${most.toFixed(0)} px over another: ${one.said} | ${other.said}`);
    }));

    const outside = all.filter(({element}) => element.closest('.g-gtitle, .legend, .slider-container, .g-xtitle, .g-ytitle'));
    for (const {xaxis, yaxis} of Object.values(place._fullLayout._plots ?? {})) {
        const [left, top] = [frame[0] + xaxis._offset, frame[1] + yaxis._offset];
        const [right, bottom] = [left + xaxis._length, top + yaxis._length];
        const panel = [[left, top], [right, top], [right, bottom], [left, bottom]];
        for (const {said, quads} of outside) {
            if (Math.max(...quads.map((line) => depth(line, panel))) > touch) found.push(`over a panel: ${said}`);
        }
    }
    for (const {x, y, mode, name, xaxis, yaxis, type} of place._fullData) {
        if (type !== 'scatter' || !mode?.includes('markers')) continue;
        const [across, up] = [xaxis, yaxis].map((axis) => place._fullLayout[axis[0] + 'axis' + axis.slice(1)]);
        for (const [values, {type: kind, range}] of [[x, across], [y, up]]) {
            if (kind === 'linear' && [...values].some((value) => value < Math.min(...range) || value > Math.max(...range)))
                found.push(`out of view: a point of ${name}`);
        }
    }
    return [...new Set(found)];
}
"""


def prepare(page) -> None:
    """Load plotly, what lays figures out, and the measure, once for many figures."""
    page.set_content("<!doctype html><style>body {margin: 0}</style><body></body>")
    for script in (library(), painter(), MEASURE % TOUCH):
        page.add_script_tag(content=script)


def faults(page, figure: Any, width: int, *, native: bool = False) -> Sequence[str]:
    """What is wrong with a figure's texts in a place of this width; native: as plotly lays it out."""
    text = figure if isinstance(figure, str) else figure.to_json()
    return page.evaluate(DRAW, [text, width, native])


def said(faults_of: Mapping[str, Sequence[str]]) -> str:
    """Faults as lines, for a failing test."""
    return json.dumps({name: found for name, found in faults_of.items() if found}, indent=1)
