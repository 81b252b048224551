"""One short file a method: a Step in, a loss out; the formula and its source stand on top.

A step's loss is put together in `loss`; what a method may read is in `step`; `regulariser` is the
family of KD, CAR-FT and Lipsum-FT. Nothing here knows an optimiser, a run or a file. Start at
`lipsum`. A new method is a file here and an entry in `clipft.methods`, which names its function.
"""
