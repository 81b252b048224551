"""The notebooks as a person sees them: JupyterLab in a headless Chromium, with mouse and
keyboard.
"""

from . import lab

# where the first figure's large markers are drawn, in plot pixels: traces of one point, but for the grey zero-shot star
MARKERS = """[...document.querySelector('.js-plotly-plot').querySelectorAll('.scatterlayer .trace')]
    .map(trace => [...trace.querySelectorAll('.points path')]).filter(points => points.length == 1)
    .map(points => points[0].getAttribute('transform')).join(' ')"""


def click_slider(page, fraction: float) -> None:
    """Click on the first figure's alpha slider, this far along its rail."""
    rail = page.locator(".js-plotly-plot").first.locator(".slider-rail-touch-rect")
    box = rail.bounding_box()
    page.mouse.click(box["x"] + fraction * box["width"], box["y"] + box["height"] / 2)


def test_energy_gap_notebook(page, server, demo_runs):
    path = lab.copy(lab.ROOT / "notebooks/02_energy_gap.ipynb", server.root, runs=str(demo_runs))
    lab.open_notebook(page, server, path)
    lab.theme(page, lab.LIGHT)
    lab.run_all(page)
    for theme in (lab.LIGHT, lab.DARK):
        lab.theme(page, theme)
        figures = page.locator(".js-plotly-plot:has(.main-svg)")
        explorers = page.locator(".clipft-chart:has(svg)")
        lab.expect(figures.or_(explorers)).to_have_count(6)
        assert page.locator(lab.STDERR_OUTPUT).all_inner_texts() == []

        figures.first.scroll_into_view_if_needed()
        click_slider(page, 0.02)
        lab.expect(figures.first.locator(".slider-label").first).to_have_text("alpha = 0")
        old = page.evaluate(MARKERS)
        click_slider(page, 0.97)
        page.wait_for_function(f"old => {MARKERS} !== old", arg=old)
        lab.expect(figures.first.locator(".slider-label").first).to_have_text("alpha = 1")
        # With responsive=True plotly then gives the figure's box the height 0.
        page.wait_for_timeout(500)
        lab.expect(figures.first).to_be_visible()

        buttons = page.locator(".modebar-btn")
        titles = buttons.evaluate_all("all => all.map(button => button.dataset.title)")
        outside = [title for title in titles if "hare" in title or "loud" in title]
        assert len(titles) > 6 and not outside, set(titles)

        delay = lab.median_delay(page, MARKERS, lambda i: click_slider(page, (0.02, 0.97)[i % 2]))
        print(f"\nslider click to moved marker, {theme}: median {delay:.0f} ms")
        lab.shot(page, f"02_energy_gap_{theme.split()[-1].lower()}", whole=True)


def test_a_small_notebook_and_the_keyboard(page, server):
    path = lab.notebook(
        server.root / "small.ipynb",
        [
            "import ipywidgets as widgets\nslider = widgets.IntSlider(3, 0, 10)\nsaid = widgets.Label()",
            (
                "slider.observe(lambda change: setattr(said, 'value', f'got {change.new}'), 'value')\n"
                "widgets.VBox([slider.add_class('t-slider'), said.add_class('t-said')])"
            ),
        ],
    )
    lab.open_notebook(page, server, path)
    lab.theme(page, lab.LIGHT)
    lab.run_all(page)
    page.locator(".t-slider .noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    lab.expect(page.locator(".t-said")).to_have_text("got 4")
    text = "document.querySelector('.t-said').textContent"
    delay = lab.median_delay(
        page, text, lambda i: page.keyboard.press(("ArrowRight", "ArrowLeft")[i % 2])
    )
    print(f"\nkey to text through the kernel: median {delay:.0f} ms")
