"""Records in, explorers out: widgets in a live page, a static twin figure everywhere else.

A file for each explorer: wise, calibration, energy_gap, distortion, energy_map, run_browser, form;
`view` shows any figure. `base` holds what they share: the plot, which paints a figure of figures/
in the page, and the place in a cell's output. `texts` makes HTML. The room reads
runs, data and figures; torch is asked for only where a method computes (`FineTuneForm.start`,
`WiseExplorer.exact`). Start with wise.
"""
