"""Pages open offline, keep their order and links, and say in one line why there is no PNG."""

import base64
import gzip
import json
import re

import plotly.graph_objects as go
import pytest

from clipft.errors import ConfigError
from clipft.figures import pages
from clipft.figures.style import THEMES

FIGURE = go.Figure(go.Scatter(x=[1, 2], y=[3.5, float("nan")], name="a <b> & c"))


def loaded_from_outside(html):
    """Addresses that a browser would fetch, outside plotly's own code.

    That is src of any tag, href of link tags, CSS imports.
    """
    page = re.sub(r"<script\b[^>]*>.*?</script>", "", html, flags=re.DOTALL)
    tags = re.findall(r"<script\b[^>]*>", html) + re.findall(r"<(?!a\b)[a-z]+\b[^>]*>", page)
    return [
        tag for tag in tags if re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", tag)
    ] + re.findall("@import", page)


def test_a_saved_figure_is_self_contained(tmp_path):
    file = pages.save_figure(FIGURE, tmp_path / "new", "gap", "Energy gap & <accuracy>")
    html = file.read_text(encoding="utf-8")
    assert file == tmp_path / "new/gap.html"
    (packed,) = re.findall("id='clipft-plotly'>([^<]*)<", html)
    assert b"plotly.js v" in gzip.decompress(base64.b64decode(packed))
    assert 'src="http' not in html
    assert loaded_from_outside(html) == []
    assert "<figcaption>Energy gap &amp; &lt;accuracy&gt;</figcaption>" in html
    assert "showSendToCloud: false" in html
    spec = json.loads((tmp_path / "new/gap.json").read_text())
    assert spec["caption"] == "Energy gap & <accuracy>"
    assert go.Figure(spec["figure"]).data[0].y[0] == 3.5


def test_the_check_for_outside_addresses_sees_them():
    assert loaded_from_outside('<script src="https://cdn.plot.ly/x.js"></script>')
    assert loaded_from_outside('<link rel="stylesheet" href="//fonts/x.css">')
    assert not loaded_from_outside(
        '<a href="https://ai.bu.edu">x</a><script>"<img src=http://x>"</script>'
    )


def test_the_index_keeps_order_and_links(tmp_path):
    for name in ("b", "a"):
        pages.save_figure(go.Figure(go.Bar(x=[name], y=[1])), tmp_path, name, f"caption of {name}")
    table = pages.Table(
        head=("run", "accuracy"),
        rows=(("r<1>", "71.0"), ("r2", "-")),
        anchors=(("run-r1", "recipe-x"), ("run-r2",)),
        links=("one.html?a=1&b=2", ""),
    )
    before = [pages.Section("Said & done", ("A <b>.",), points=("one & two", "three"))]
    files = pages.Section("Files", facts=(("command", "a && b"),), links=(("run <1>", "1.html"),))
    drawn = pages.Section("Drawn", figures=(tmp_path / "b.json", tmp_path / "a.json"))
    after = [pages.Section("Runs", table=table), files]
    target = pages.write_index(tmp_path / "index.html", "Runs & <more>", [*before, drawn, *after])
    html = target.read_text(encoding="utf-8")
    assert "<h1>Runs &amp; &lt;more&gt;</h1>" in html
    assert re.findall("<figcaption>(.*?)</figcaption>", html) == ["caption of b", "caption of a"]
    assert re.findall("<h[123][^>]*>(.*?)</h[123]>", html) == [
        "Runs &amp; &lt;more&gt;", "Said &amp; done", "Drawn", "B", "A", "Runs", "Files",
    ]  # fmt: skip
    assert "<p>A &lt;b&gt;.</p>" in html
    assert re.findall("<li>(.*?)</li>", html.partition("</nav>")[2]) == [
        "one &amp; two",
        "three",
        '<a href="1.html">run &lt;1&gt;</a>',
    ]
    assert "<dt>command</dt><dd>a &amp;&amp; b</dd>" in html
    rows = re.findall("<tr>(.*?)</tr>", html)
    assert rows[1].count("<a id=") == 2 and 'href="one.html?a=1&amp;b=2">r&lt;1&gt;</a>' in rows[1]
    assert "<a id='run-r2'></a>r2</th><td>-</td>" in rows[2]
    assert html.count("<main>") == html.count("</main>") == 1
    assert loaded_from_outside(html) == []
    assert html.count("id='clipft-plotly'") == 1
    contents = re.search("<nav.*?</nav>", html)[0]
    linked = re.findall('href="#(part-\\d)">(.*?)<', contents)
    assert linked == re.findall("<h2 id='(part-\\d)'>(.*?)<", html)


@pytest.mark.parametrize(
    ("title", "name", "heading"),
    [
        ("WiSE<br><sub>2 seeds</sub>", "1_wise", "WiSE"),
        ("a <b>bold</b> one", "x", "a bold one"),
        (None, "7a_reference_against_shift", "Reference against shift"),
        (None, "5_results", "Results"),
    ],
)
def test_a_figures_heading_is_its_title_or_its_name(tmp_path, title, name, heading):
    page = pages.save_figure(go.Figure(layout={"title": title}), tmp_path, name, "c")
    assert f"<h1>{heading}</h1>" in page.read_text(encoding="utf-8")


def test_no_browser_is_one_line_and_no_png(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", "/nonexistent")
    assert pages.write_images(tmp_path) == "PNG: nothing to write"
    pages.save_figure(FIGURE, tmp_path, "gap")
    line = pages.write_images(tmp_path)
    assert line.startswith("PNG: none written (")
    assert "\n" not in line
    assert sorted(file.name for file in tmp_path.iterdir()) == ["gap.html", "gap.json"]


@pytest.fixture
def drawn(monkeypatch):
    """What kaleido was given to draw: (file's name, width, scale, data of the figure)."""
    import kaleido

    given = []

    def draw(jobs, kopts):
        assert "fitted(figure, spec.width)" in kopts["page_generator"].generate_index()
        for job in jobs:
            given.append((job["path"].name, job["opts"]["width"], job["opts"]["scale"], job["fig"]))

    monkeypatch.setattr(kaleido, "write_fig_from_object_sync", draw)
    return given


@pytest.mark.parametrize("age", [10, -10])
def test_only_a_figure_newer_than_its_png_is_drawn(tmp_path, drawn, age):
    import os

    pages.save_figure(FIGURE, tmp_path, "gap")
    png = tmp_path / "gap.png"
    time = (tmp_path / "gap.json").stat().st_mtime
    png.write_bytes(b"")
    os.utime(png, (time - age, time - age))
    line = pages.write_images(tmp_path)
    assert line == ("PNG: 1 written" if age > 0 else "PNG: nothing to write")
    named = [(name, figure["data"][0]["name"]) for name, _, _, figure in drawn]
    assert named == ([("gap.png", "a <b> & c")] if age > 0 else [])


def test_images_of_other_kinds_on_request(tmp_path, drawn):
    figure = go.Figure(FIGURE).update_layout(font={"size": 14}, sliders=[{"steps": []}])
    pages.save_figure(figure, tmp_path, "gap")
    line = pages.write_images(tmp_path, ["svg", "pdf", "png"], columns=[1, 2])
    assert line == "SVG, PDF, PNG: 5 written"
    # 14 pixels are 8 points where 1.75 pixels are one; an inch has 72 points, 96 pixels of CSS.
    one = 3.25 * 72 * 1.75
    both = 6.75 * 72 * 1.75
    assert [(name, width) for name, width, _, _ in drawn] == [
        ("gap_1column.svg", round(one)),
        ("gap.svg", round(both)),
        ("gap_1column.pdf", round(one)),
        ("gap.pdf", round(both)),
        ("gap.png", 1100),
    ]
    inches = [width * scale / 96 for _, width, scale, _ in drawn[:4]]
    assert inches == pytest.approx([3.25, 6.75, 3.25, 6.75])
    assert drawn[-1][2] == 2
    assert ["sliders" in figure["layout"] for *_, figure in drawn] == [False] * 4 + [True]


def test_images_that_cannot_be_are_refused_or_told(tmp_path, monkeypatch):
    import kaleido

    pages.save_figure(FIGURE, tmp_path, "gap")
    assert pages.write_images(tmp_path, []) == "images: nothing to write"
    with pytest.raises(ConfigError, match="unknown kind of image 'gif'; known: pdf, png, svg"):
        pages.write_images(tmp_path, ["gif"])
    with pytest.raises(ConfigError, match="a figure of 3 columns; a paper has 1 or 2"):
        pages.write_images(tmp_path, ["pdf"], columns=[3])
    errors = (RuntimeError("no such trace\nat line 1"),)
    monkeypatch.setattr(kaleido, "write_fig_from_object_sync", lambda *_, **__: errors)
    line = pages.write_images(tmp_path, ["png", "svg"])
    assert line == "PNG, SVG: 1 of 2 written (no such trace)"


def test_pages_have_a_dark_theme():
    light, dark = pages.STYLE.split("@media (prefers-color-scheme: dark)")
    assert "color-scheme: light dark" in light
    assert THEMES["dark"]["layout"]["paper_bgcolor"] == "#111111" and "background: #111" in dark


def test_nothing_of_a_figure_ends_its_script(tmp_path):
    evil = go.Figure(go.Scatter(x=[1], y=[1], name="</script><b>x</b><!--"))
    html = pages.save_figure(evil, tmp_path, "evil").read_text(encoding="utf-8")
    assert "<b>x" not in html
    text = html.rpartition("<script type='application/json'>")[2].partition("</script>")[0]
    name = json.loads(text)["data"][0]["name"]
    assert name == "&lt;/script><b>x</b>&lt;!--"  # plotly reads it as it was


def test_a_notebooks_figure_offers_no_upload_and_stands_on_either_ground():
    drawn = pages.bundle(FIGURE)[pages.FIGURE]
    assert drawn["config"]["showSendToCloud"] is False
    assert drawn["layout"]["template"]["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)"
    assert drawn["data"] == json.loads(FIGURE.to_json())["data"]
