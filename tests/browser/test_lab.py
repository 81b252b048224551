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
    pictures = page.locator(lab.PLOT)
    lab.expect(pictures).to_have_count(8)  # seven figures, and the curve of the run that is chosen
    for theme, ground in ((lab.LIGHT, "rgb(255, 255, 255)"), (lab.DARK, "rgb(17, 17, 17)")):
        lab.theme(page, theme)
        for number in range(8):
            sheet = pictures.nth(number).locator(".main-svg").first
            lab.expect(sheet).to_have_css("background-color", ground)
        assert page.locator(lab.STDERR_OUTPUT).all_inner_texts() == []

        page.locator(".clipft-alpha .noUi-handle").first.focus()
        page.keyboard.press("Home")
        lab.expect(pictures.first).to_have_attribute("data-alpha", "0")
        delay = lab.median_delay(
            page,
            f"document.querySelector('{lab.PLOT}').dataset.alpha",
            lambda i: page.keyboard.press(("ArrowRight", "ArrowLeft")[i % 2]),
        )
        print(f"\nkey to moved markers, {theme}: median {delay:.0f} ms")
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
