"""A JupyterLab of this interpreter and a headless Chromium to look at it; nothing outside 127.0.0.1
is reached.
"""

import ast
import contextlib
import csv
import io
import json
import os
import re
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import nbformat
import yaml

try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:  # the tests are skipped, see `missing`
    expect = sync_playwright = None

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
)
SETTINGS = {
    # no "get Jupyter news?" question in the corner, no look for updates
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    # every cell is in the page, also those out of view
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
# anywidget says so where a widget's script takes over two seconds, as on a busy machine; plot.js
# hears such widgets all the same.
LATE = "[anywidget] Failed to initialize model."
HANG = int(
    os.environ.get("CLIPFT_HANG", "300")
)  # seconds after which waiting is given up; guards against a hang on a busy machine, says nothing of speed
if expect is not None:
    expect.set_options(timeout=1000 * HANG)
PLOT = ".js-plotly-plot[data-alpha]"  # a live picture that is drawn
SLIDER = ".clipft-alpha input[type=range]"
NUMBER = ".clipft-alpha input[type=number]"  # beside the slider
# What an explorer is not without: a picture, a map, a table.
SHOWN = f"{PLOT}, .clipft-map-canvas, .clipft-runs tbody tr, .clipft-sorted tbody tr"
STDERR_OUTPUT = ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']"


# --- what is needed -------------------------------------------------------------------------------------------------


def chromium() -> str:
    """Path of the browser, "" where none is found: $BROWSER_PATH if that is set, else the first of
    BROWSERS on PATH.
    """
    given = os.environ.get("BROWSER_PATH")
    return (
        shutil.which(given) or "" if given else next(filter(None, map(shutil.which, BROWSERS)), "")
    )


def missing() -> str:
    """Why the browser tests cannot run and what to install; "" where they can."""
    if sync_playwright is None:
        return "no playwright: pip install playwright (the wheel alone; its own browsers are not needed)"
    if not chromium():
        return (
            f"no browser ($BROWSER_PATH, {', '.join(BROWSERS)} on PATH): apt-get install chromium"
        )
    return ""


# --- the server -----------------------------------------------------------------------------------------------------


class Server:
    """A running JupyterLab: its address, its token and the folder it shows."""

    def __init__(self, address: str, token: str, root: Path):
        self.address, self.token, self.root = address, token, root

    def call(self, path: str, method: str = "GET"):
        """What the server's REST interface answers."""
        request = Request(f"{self.address}/api/{path}", method=method)
        request.add_header("Authorization", f"token {self.token}")
        with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def kernels(self) -> set[str]:
        """The ids of the kernels that live."""
        return {kernel["id"] for kernel in self.call("kernels")}

    def stop_kernels(self, but: Collection[str] = ()) -> None:
        """End every kernel but these: each holds a torch of its own."""
        for kernel in self.kernels().difference(but):
            self.call(f"kernels/{kernel}", "DELETE")


@contextlib.contextmanager
def server(root: Path, env=None):
    """JupyterLab on a folder of copies (it saves what it opens). Its settings and its kernels'
    files are its own.
    """
    home = Path(tempfile.mkdtemp(prefix="lab-"))
    for name, value in SETTINGS.items():
        file = home / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    env = (
        os.environ | {name: str(home / folder) for name, folder in places.items()} | dict(env or {})
    )
    env |= {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_PLATFORM_DIRS": "1"}
    env.pop("CLIPFT_HEADLESS", None)  # a person is looking
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lab = Server(f"http://127.0.0.1:{port}", secrets.token_hex(16), root)
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={lab.token}",
        f"--ServerApp.root_dir={root}",
        "--LabApp.extension_manager=readonly",
        "--LabApp.expose_app_in_browser=True",
    ]
    log = home / "lab.log"
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=env)
    try:
        _wait_for(lab, process, log)
        yield lab
        lab.stop_kernels()
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _wait_for(lab: Server, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + HANG
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError):
            lab.call("status")
            return
        time.sleep(0.1)
    why = (
        f"no answer in {HANG} s"
        if process.poll() is None
        else f"it ended with {process.returncode}"
    )
    raise RuntimeError(f"JupyterLab: {why}\n{log.read_text()[-2000:]}")


# --- the page -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def browser():
    """A headless Chromium. While it is open this thread has a running asyncio loop: close it before
    other tests.
    """
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=chromium(), args=list(BROWSER_ARGUMENTS)
        )
        try:
            yield opened
        finally:
            opened.close()


@contextlib.contextmanager
def page(browser, allowed: tuple[str, ...], width: int = 1400, height: int = 1000):
    """A page that may ask for addresses that start with `allowed` and no others.

    page.outside lists what else it asked for (cut off), page.errors what it logged as an error or
    did not catch, page.warnings what it logged as a warning.
    """
    context = browser.new_context(viewport={"width": width, "height": height})
    view = context.new_page()
    view.set_default_timeout(1000 * HANG)
    view.outside, view.errors, view.warnings = [], [], []
    view.on("pageerror", lambda error: LATE in str(error) or view.errors.append(str(error)))
    view.on(
        "console",
        lambda said: {"error": view.errors, "warning": view.warnings}.get(said.type, []).append(
            said.text
        ),
    )

    def decide(route) -> None:
        if route.request.url.startswith((*allowed, "data:", "blob:")):
            route.continue_()
        else:
            view.outside.append(route.request.url)
            route.abort()

    def listen(socket) -> None:  # the router above does not see these
        if not socket.url.replace("ws", "http", 1).startswith(allowed):
            view.outside.append(socket.url)

    view.route("**/*", decide)
    view.on("websocket", listen)
    try:
        yield view
    finally:
        context.close()


def shot(page, name: str, whole: bool = False) -> None:
    """Keep a picture of the page as NAME.png in $CLIPFT_SHOTS, if that is set; whole: uncut."""
    if not os.environ.get("CLIPFT_SHOTS"):
        return
    folder = Path(os.environ["CLIPFT_SHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    size = page.viewport_size
    if whole:  # the notebook scrolls inside the page, so a "full page" is no taller: make the window as tall as it
        tall = page.evaluate(
            """() => Math.max(...[...document.querySelectorAll('.jp-WindowedPanel-outer, html')]
                .map(element => element.scrollHeight))"""
        )
        page.set_viewport_size({"width": size["width"], "height": max(size["height"], tall + 120)})
        page.evaluate(
            "() => document.querySelectorAll('.jp-WindowedPanel-outer').forEach(e => e.scrollTo(0, 0))"
        )
        page.wait_for_timeout(500)
    page.screenshot(path=folder / f"{name}.png")
    page.set_viewport_size(size)


def median_delay(page, seen: str, act, times: int = 5) -> float:
    """Milliseconds, on the page's own clock, from a key or mouse press to the change of a JS
    expression; the median.

    act(i) makes the i-th press, through page.keyboard or page.mouse. The expression must change at
    every press and show in the page's elements; a canvas is not seen.
    """
    page.evaluate(
        """expression => {
            const look = new Function(`return (${expression})`);
            let start = 0, was = null;
            window.stopwatch?.end();  // an earlier one would tell its own times
            const press = () => { if (!start) start = performance.now(); };
            for (const kind of ['keydown', 'pointerdown']) document.addEventListener(kind, press, true);
            const observer = new MutationObserver(() => {
                if (start && stopwatch.took === null && look() !== was) stopwatch.took = performance.now() - start;
            });
            observer.observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
            window.stopwatch = {
                took: null,
                arm() { start = 0; was = look(); this.took = null; },
                end() {
                    observer.disconnect();
                    for (const kind of ['keydown', 'pointerdown']) document.removeEventListener(kind, press, true);
                },
            };
        }""",
        seen,
    )
    delays = []
    for i in range(times):
        page.evaluate("() => stopwatch.arm()")
        act(i)
        page.wait_for_function("() => stopwatch.took !== null")
        delays.append(page.evaluate("() => stopwatch.took"))
        page.wait_for_timeout(60)
    return statistics.median(delays)


# --- the notebook ---------------------------------------------------------------------------------------------------


def notebook(path: Path, sources) -> Path:
    """Write a notebook of code cells."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }  # else Lab asks for one
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def copy(source: Path, folder: Path, before: str = "", **parameters) -> Path:
    """Copy a notebook into a folder and set these in its parameters cell, behind this code."""
    book = nbformat.read(source, 4)
    (cell,) = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", ())]
    for name, value in parameters.items():
        line = re.compile(rf"^({name}\b[^=\n]*)=.*$", re.MULTILINE)
        cell.source, count = line.subn(
            lambda match, value=value: f"{match[1]}= {value!r}", cell.source
        )
        assert count == 1, f"{source.name} has no parameter {name}"
    cell.source = before + cell.source
    nbformat.write(book, folder / source.name)
    return folder / source.name


def first_classes(source: str, folder: Path, *, name: str, count: int, **per_class: int) -> Path:
    """Write a shipped manifest of emoji with its first classes only, and so many images of each."""
    manifests = ROOT / "data_manifests"
    values = yaml.safe_load((manifests / f"{source}.yaml").read_text())
    classes = yaml.safe_load((manifests / values["classes"]).read_text())[:count]
    (folder / f"{name}.classes.yaml").write_text(yaml.safe_dump(classes))
    title = f"{values['title']}, {count} classes"
    values |= {"name": name, "title": title, "classes": f"{name}.classes.yaml"}
    # what is drawn of fewer classes has other digests
    values["emoji"] |= {"artwork": "", "lists": ""}
    values["emoji"]["per_class"] |= per_class
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return folder / f"{name}.yaml"


def open_notebook(page, server: Server, path: Path) -> None:
    """Open a notebook under the server's folder, in the simple one-document interface."""
    page.goto(
        f"{server.address}/doc/tree/{path.relative_to(server.root)}?token={server.token}&reset"
    )
    page.wait_for_selector(".jp-Notebook .jp-Cell")


def run_all(page) -> None:
    """Run all cells and wait for the end; a cell that fails is an AssertionError with its
    traceback.

    The kernel must answer first: asked earlier, Lab clears the cells and silently runs none.
    """
    page.evaluate(
        """async seconds => {
            const app = window.jupyterapp, session = app.shell.currentWidget.sessionContext;
            const run = async () => {
                await session.ready;
                await session.session.kernel.info;
                await app.commands.execute('notebook:run-all-cells');
            };
            const hang = new Promise((_, fail) =>
                setTimeout(() => fail(new Error(`run all: not done in ${seconds} s`)), 1000 * seconds));
            await Promise.race([run(), hang]);
        }""",
        HANG,
    )
    assert not failures(page), "\n".join(failures(page))


def failures(page) -> list[str]:
    """The tracebacks of the cells that failed; of their outputs the page says only stderr."""
    return page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.content.widgets
            .filter(cell => cell.model.type === 'code')
            .flatMap(cell => cell.model.outputs.toJSON())
            .filter(output => output.output_type === 'error')
            .map(output => output.traceback.join('\\n'))"""
    )


def theme(page, name: str) -> None:
    """Switch the open Lab to a theme; the server keeps it for the pages that follow."""
    page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name
    )
    page.wait_for_selector(f"body[data-jp-theme-name='{name}']", state="attached")
    # Lab takes its splash away a moment later; another switch before that would make it try twice.
    page.wait_for_selector("#jupyterlab-splash", state="detached")


# --- what an explorer shows and what the kernel says ----------------------------------------------------------------


@contextlib.contextmanager
def desk(server: Server, browser, path: Path, sources):
    """A page with a notebook of these cells, run, where all but the first show an explorer."""
    notebook(path, sources)
    others = server.kernels()
    with page(browser, (server.address,)) as view:
        view.path = path
        open_notebook(view, server, path)
        theme(view, LIGHT)
        run_all(view)
        for number in range(1, len(sources)):
            expect(cell(view, number).locator(SHOWN).first).to_be_visible()
        yield view
        server.stop_kernels(others)
    assert view.outside == [], view.outside
    assert view.errors == [], view.errors


def save(page) -> None:
    """Write the notebook, with what its cells show."""
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")


def cell(page, number: int):
    """A code cell of the notebook."""
    return page.locator(".jp-CodeCell").nth(number)


def rows(part) -> list[list[str]]:
    """The texts in the cells of a part's tables, a list a row, without the head's.

    Told by cell: what a row's innerText is depends on whether the page has laid it out.
    """
    return part.locator("tr").evaluate_all(
        """all => all.filter(row => !row.closest('thead') && row.querySelector('td'))
            .map(row => [...row.cells].map(one => one.textContent.trim()))"""
    )


def ask(page, expression: str):
    """What a Python expression is in the notebook's kernel; the notebook is left as it is."""
    said = page.evaluate(
        """async code => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const options = {code: '', user_expressions: {said: code}, silent: true, store_history: false};
            const reply = await kernel.requestExecute(options).done;
            return reply.content.user_expressions.said;
        }""",
        f"__import__('json').dumps({expression})",
    )
    assert said["status"] == "ok", said
    return json.loads(ast.literal_eval(said["data"]["text/plain"]))


def until(check, page, seconds: float = HANG):
    """Wait until a check, a function of no arguments, raises no AssertionError."""
    end = time.monotonic() + seconds
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > end:
                raise
            page.wait_for_timeout(100)


def becomes(page, expression: str, wanted=None) -> object:
    """Wait until a Python expression in the kernel is this, or, wanted not given, is no longer empty; return it."""

    def check():
        found = ask(page, expression)
        assert found == wanted if wanted is not None else found, f"{expression} is {found!r}"
        return found

    return until(check, page)


def press(page, keys: str, times: int = 1) -> None:
    for _ in range(times):
        page.keyboard.press(keys)


def run_cells(page, start: int, stop: int) -> None:
    """Run the cells at these positions, markdown counted, and wait for the end."""
    page.evaluate(
        """async ([start, stop]) => {
            const app = window.jupyterapp, panel = app.shell.currentWidget, session = panel.sessionContext;
            await session.ready;
            await session.session.kernel.info;
            for (let i = start; i < stop; i++) {
                panel.content.activeCellIndex = i;
                await app.commands.execute('notebook:run-cell');
            }
        }""",
        [start, stop],
    )
    assert not failures(page), "\n".join(failures(page))


def type_alpha(page, explorer, alpha: float) -> None:
    """Type an alpha beside an explorer's slider, and go back to the slider."""
    number = explorer.locator(NUMBER).first
    number.click()
    page.keyboard.press("Control+a")
    page.keyboard.type(f"{alpha:.2f}")
    page.keyboard.press("Enter")
    slider = explorer.locator(SLIDER).first
    expect(slider).to_have_value(f"{alpha:g}")
    slider.focus()
    expect(number).to_have_value(f"{alpha:.2f}")


SEND = """code => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    kernel.requestExecute({code, silent: true, store_history: false});
}"""


@contextlib.contextmanager
def asleep(page, folder: Path):
    """While this lasts the page is alone: its kernel answers nothing before the end."""
    end = folder / "end"
    wait = f"from pathlib import Path\nimport time\nwhile not Path({str(end)!r}).exists(): time.sleep(0.05)"
    page.evaluate(SEND, wait)
    try:
        yield
    finally:
        end.touch()


def downloaded(page, press) -> list[list[str]]:
    """The rows of the CSV that `press` makes the page hand out, its head first."""
    with page.expect_download() as download:
        press()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    return list(csv.reader(io.StringIO(text)))


def titles(explorer, part: str = "") -> list[str]:
    """The ids of the images of a part's tiles, whether or not their images came."""
    opened = explorer.locator(f"{part} .clipft-open > :first-child")
    return opened.evaluate_all("all => all.map(one => one.dataset.title ?? one.title)")


# where in the window the point of a run's thin line is that lies furthest from all other points
THIN = """(plot, number) => {
    plot.scrollIntoView({block: 'center'});
    const {_fullLayout: {xaxis, yaxis}, _fullData} = plot;
    const places = ({x, y}) => [...x].map((v, i) => [xaxis.l2p(v), yaxis.l2p(y[i])]);
    const drawn = _fullData.filter(({type, xaxis}) => type === 'scatter' && xaxis === 'x');
    const line = drawn.find(({meta}) => meta?.id === number);
    const others = drawn.filter((trace) => trace !== line).flatMap(places);
    const alone = ([x, y]) => Math.min(...others.map(([v, w]) => Math.hypot(v - x, w - y)));
    const [x, y] = places(line).sort((a, b) => alone(b) - alone(a))[0];
    const box = plot.getBoundingClientRect();
    return [box.left + xaxis._offset + x, box.top + yaxis._offset + y];
}"""


def drawn(explorer, name: str, kind: str = "scatter") -> dict:
    """x and y of the trace of this name in an explorer's first picture, as it is drawn now."""
    return explorer.locator(PLOT).first.evaluate(
        """(plot, [name, kind]) => {
            const {x, y, text} = plot._fullData.find((trace) => trace.name === name && trace.type === kind);
            return {x: [...x], y: [...y], text};
        }""",
        [name, kind],
    )
