"""Questions to finished runs that need a model: energy gaps with their errors, energy maps, classes
that are alike, the path through weight space, accuracy at an alpha that nobody scored.

Computing half: torch is at home. What scored folders answer alone stands in `runs.reading`.
"""
