"""Boards as widgets: explorers in a live page, a static twin figure everywhere else.

A file for each explorer: wise, calibration, energy_gap, distortion, energy_map, classes,
run_browser, explore (one run), workspace (a folder); `view` shows any figure; `form` trains. `base`
holds what explorers share: the widget that a board (clipft/boards) is, and its place in a cell's
output; `link` makes several one. `parts`, `settings`, `stop` and `texts` are the form's. The room
reads runs, boards and figures; torch is asked for only where a method computes
(`FineTuneForm.start`, `WiseExplorer.exact`, the maps of a `Workspace`). Start with wise.
"""
