"""One loop for every method, with exact resume, and weights made of finished runs.

Computing half: torch is at home. Start at `train.train`, then `loop.fit`; post-hoc methods are
applied to runs in `combine`.
"""
