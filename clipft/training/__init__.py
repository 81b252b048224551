"""One loop for every method, with exact resume, and weights that become runs without it.

Computing half: torch is at home. Start at `train.train`, then `loop.fit`; post-hoc methods are
applied to runs in `combine`, a checkpoint that was tuned elsewhere becomes a run in `adopt`.
"""
