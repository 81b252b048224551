"""Predictions in, numbers with intervals out: NumPy arrays of N images, C classes.

Start with `accuracy` (top-1, macro F1, per class, generalised zero-shot, relative accuracy) and
`intervals` (what a `Statistic` is, its bootstrap). Then `calibration`, `comparison` (McNemar),
`correlation` (Pearson's r, effective robustness), `curves` (along alpha) and `distortion_test`.
All are fractions, not percent. Knows no file, run or model: of clipft only errors and config.
"""
