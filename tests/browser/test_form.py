"""The fine-tuning form as a person uses it: run, watch, stop, go on; also while a cell waits."""

import json
import re
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe

from . import lab
from .lab import PLOT, ask, run_cells
from .test_explorers import show

FORM, WAIT, LAST = 2, 4, 8  # places of cells in the notebook, markdown counted
STEPS = 60  # 4 s with SLOWLY; a stop comes some 5 steps after the page has seen what it waits for
# A step waits for the page rather than being long, and the machine may do something else.
SLOWLY = """import time
from torch.optim.optimizer import register_optimizer_step_post_hook
register_optimizer_step_post_hook(lambda *_: time.sleep(0.06))
"""
HALF = re.compile(r"step [345]\d of 60, .* left")  # a state after the validation in the middle
SUBSHELLS = ("perCommTarget", "disabled")  # Lab's setting: its default, and none


def tiny(demo_runs, folder, **more) -> dict:
    """Parameters that make 01_fine_tune small: the demo's images, few steps, a folder of its own."""
    about = json.loads(next(demo_runs.glob("*/config.json")).read_text())
    own = demo_runs.parent / f"{about['manifest']}.yaml"
    return {
        "manifest": str(own) if own.exists() else about["manifest"],
        "method": "ft",
        "batch_size": 8,
        "alphas": [0.0, 1.0],
        "runs": str(folder),
        "device": "cpu",
    } | more


def begin(page, subshells: str, cell: int | None = None) -> None:
    """Run this cell, or all, and do not wait."""
    page.evaluate(
        """async ([subshells, cell]) => {
            const app = window.jupyterapp, panel = app.shell.currentWidget;
            const session = panel.sessionContext;
            await session.ready;
            await session.session.kernel.info;
            session.session.kernel.commsOverSubshells = subshells;
            if (cell !== null) panel.content.activeCellIndex = cell;
            app.commands.execute(cell === null ? 'notebook:run-all-cells' : 'notebook:run-cell');
        }""",
        [subshells, cell],
    )


def counts(page) -> list:
    """How often each code cell was run, null for those that were not."""
    return page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.content.widgets
            .filter(cell => cell.model.type === 'code').map(cell => cell.model.executionCount)"""
    )


def wait_until_idle(page) -> None:
    page.wait_for_function(
        """() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"""
    )
    assert ask(page, "1") == 1  # what was queued before has been answered


def state_of(page):
    return page.locator(".clipft-state")


def waiting_ends(page) -> None:
    """The training stops in the middle; the cell that waits for it says so, and no more is run."""
    state = state_of(page)
    lab.expect(state).to_contain_text("stopped at step")
    wait_until_idle(page)
    said = state.inner_text().removeprefix("stopped: ")
    assert re.fullmatch(r"stopped at step \d+; run goes on from the last validation", said)
    assert int(re.search(r"\d+", said)[0]) < STEPS
    assert lab.failures(page) == [f"Stopped: {said}"]
    assert [count is not None for count in counts(page)] == [True, True, True, False, False, False]


SETTINGS = (
    "recipe", "data", "model", "weights", "method", "lambda", "head", "shots a class (0: all)",
    "precision", "learning rate", "steps", "batch size", "validate every", "seed",
)  # fmt: skip


def test_fields_have_labels_and_a_recipe_fills_them(page, server):
    form = (
        "from clipft import FineTuneForm, RunConfig\nform = FineTuneForm(RunConfig(seed=3))\nform"
    )
    lab.open_notebook(page, server, lab.notebook(server.root / "form.ipynb", [form]))
    lab.run_all(page)
    field = {name: page.get_by_label(name, exact=True) for name in SETTINGS}
    for one in field.values():
        lab.expect(one).to_be_visible()
    field["recipe"].select_option("lipsum_ft/domainnet_b32")
    for name, value in {"model": "ViT-B-32", "weights": "openai", "lambda": "1.0"}.items():
        lab.expect(field[name]).to_have_value(value)
    field["steps"].fill("70")
    field["steps"].press("Tab")
    lab.becomes(page, "form.config.steps", 70)
    field["recipe"].select_option("")
    wanted = "__import__('clipft').recipe({'preset': 'lipsum_ft/domainnet_b32'}, seed=3, steps=70)"
    assert ask(page, f"form.config == {wanted}")

    field["learning rate"].fill("1e-")
    page.locator("button.clipft-run").click()
    lab.expect(state_of(page)).to_contain_text("failed: the form: lr: ")
    results = Axe().run(
        page, {"include": [[".clipft-explorer"]]}, {"runOnly": ["wcag2a", "wcag2aa"]}
    )
    assert [one["id"] for one in results.response["violations"]] == []
    lab.shot(page, "form_fields_light")
    page.set_viewport_size({"width": 390, "height": 1000})
    page.wait_for_timeout(500)
    lab.shot(page, "form_fields_390")
    beyond = """form => [...form.querySelectorAll('*')].filter(part => part.getBoundingClientRect().right
        > form.parentElement.getBoundingClientRect().right + 1).map(part => part.className)"""
    assert page.locator(".clipft-explorer").evaluate(beyond) == []


def test_run_and_stop_and_go_on_until_it_is_finished(page, server, demo_runs, tmp_path):
    """The button, all cells, one cell: each is stopped, and the end is the same to the bit."""
    parameters = tiny(demo_runs, tmp_path / "runs", steps=STEPS, eval_every=STEPS // 2)
    path = lab.copy(lab.ROOT / "notebooks/01_fine_tune.ipynb", server.root, SLOWLY, **parameters)
    lab.open_notebook(page, server, path)
    lab.theme(page, lab.LIGHT)
    state = state_of(page)
    run, stop = page.locator("button.clipft-run"), page.locator("button.clipft-stop")

    # No cell waits: the kernel hears the button.
    run_cells(page, 0, FORM + 1)
    lab.expect(state).to_have_text("ready")
    run.click()
    lab.expect(state).to_contain_text("left")
    lab.expect(page.locator(f"{PLOT} .scatterlayer .trace").first).to_be_visible()
    show(page, 1, "form_running_light")
    stop.click()
    lab.expect(state).to_contain_text("stopped at step")
    lab.expect(run).to_be_enabled()

    # All cells, with a new form, which is let come to a validation: what follows goes on from there.
    begin(page, SUBSHELLS[0])
    lab.expect(state).to_contain_text(HALF)
    stop.click()
    waiting_ends(page)

    # The cell that waits begins it, and Lab's own button ends it.
    begin(page, SUBSHELLS[1], WAIT)
    lab.expect(state).to_contain_text("left")
    page.evaluate("() => window.jupyterapp.commands.execute('kernelmenu:interrupt')")
    waiting_ends(page)

    # The button begins it, and the cell waits for its end; the cells after it have the run.
    run.click()
    lab.expect(run).to_be_disabled()  # else the cell might begin it first
    run_cells(page, WAIT, WAIT + 2)  # which clears the error
    lab.expect(state).to_contain_text("finished in")
    assert ask(page, "run.folder.history() == form.rows and run.folder.is_finished")
    assert json.loads(ask(page, "form.plot.figure")) == json.loads(
        ask(page, "form.figure().to_json()")
    )
    lab.theme(page, lab.DARK)
    lab.shot(page, "form_finished_dark")
    lab.theme(page, lab.LIGHT)
    run_cells(page, WAIT + 2, LAST + 1)
    lab.expect(page.locator(PLOT)).to_have_count(3)
    lab.shot(page, "01_fine_tune_light", whole=True)

    quiet = "Reading(device='cpu', progress=False)"
    train = f"__import__('clipft').train(config, {str(tmp_path / 'whole')!r}, reading={quiet})"
    whole = Path(ask(page, f"str({train}.path)"))
    for name in ("metrics.jsonl", "weights.safetensors"):
        assert (tmp_path / "runs" / whole.name / name).read_bytes() == (whole / name).read_bytes()
