"""Explorers in marimo, which shows widgets of anywidget and no others, inside of shadow trees."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import pytest

from . import lab

pytest.importorskip("marimo")

APP = """import marimo

app = marimo.App()


@app.cell
def _():
    import clipft

    run = clipft.open_runs({runs!r})[0]
    return clipft, run


@app.cell
def _(clipft, run):
    wise = clipft.WiseExplorer(run, 0.5)
    wise
    return (wise,)


@app.cell
def _(clipft, run, wise):
    calibration = clipft.ReliabilityExplorer(run)
    clipft.link(wise, calibration)
    calibration
    return


@app.cell
def _(clipft, run):
    clipft.ClassExplorer(run, 1.0)
    return


@app.cell
def _(clipft):
    clipft.RunBrowser({runs!r})
    return


if __name__ == "__main__":
    app.run()
"""


@contextlib.contextmanager
def serving(app, home, env):
    """The address of a marimo that serves an app."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = dict.fromkeys(("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"), str(home))
    command = [sys.executable, "-m", "marimo", "-q", "-y", "run", str(app), "--headless"]
    command += ["--no-token", "--host", "127.0.0.1", "--port", str(port)]
    log = home / "marimo.log"
    with log.open("w") as stream:
        env = os.environ | places | env
        env.pop("CLIPFT_HEADLESS", None)  # a person is looking
        process = subprocess.Popen(command, env=env, stdout=stream, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + lab.HANG
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        assert process.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_explorers_in_marimo(browser, demo_runs, demo_cache, tmp_path):
    """Pictures, images, one alpha for two, a class that is clicked, a table of runs."""
    app = tmp_path / "app.py"
    app.write_text(APP.format(runs=str(demo_runs)))
    env = {} if demo_cache is None else {"CLIPFT_CACHE": str(demo_cache)}
    with serving(app, tmp_path, env) as address, lab.page(browser, (address,)) as page:
        page.goto(address)
        boards = page.locator(".clipft-board")
        lab.expect(boards).to_have_count(4)
        wise, calibration, classes, runs = (boards.nth(number) for number in range(4))
        lab.expect(wise.locator(lab.PLOT)).to_be_visible()
        lab.expect(calibration.locator(lab.PLOT)).to_be_visible()
        # Without plotly's rules its layers would stand one below the other.
        layers = wise.locator("svg.main-svg")
        first, second = (layers.nth(number).bounding_box() for number in range(2))
        assert first["y"] == pytest.approx(second["y"], abs=1)

        pictures = wise.locator(".clipft-flips img")
        lab.until(lambda: _are_drawn(pictures), page)

        wise.locator(".clipft-alpha input[type=range]").focus()
        lab.press(page, "ArrowRight", 7)
        number = calibration.locator(".clipft-alpha input[type=number]")
        lab.expect(number).to_have_value("0.57")
        lab.expect(calibration.locator(lab.PLOT)).to_have_attribute("data-alpha", "0.57")

        first = classes.locator(".clipft-view-classes tbody tr").first
        count = int(first.locator("td").nth(1).inner_text())
        first.click()
        lab.expect(classes.locator(".clipft-bar h4")).to_contain_text(f"{count} image")

        lab.expect(runs.locator("tbody tr")).to_have_count(
            len(list(demo_runs.glob("*/config.json")))
        )
        lab.shot(page, "marimo")
    assert page.outside == []
    assert page.errors == []


def _are_drawn(pictures) -> None:
    sizes = pictures.evaluate_all("all => all.map(image => image.naturalWidth)")
    assert sizes, "no picture yet"
    assert min(sizes) > 0
