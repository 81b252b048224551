"""A model at any alpha, scored: `mixtures` is where alpha mixes and the engine that scores,
`bench` what runs of one model and data set share, `score` what is kept of it in run folders;
`zero_shot` scores models of which there is no run.

Computing half: torch is at home. Start at `score.score`.
"""
