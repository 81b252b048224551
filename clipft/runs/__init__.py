"""What lies in a run folder, read in milliseconds: a run, its scores, many runs as tables.

Reading half: no torch, no model, and only `folder` knows the names of files. Start at `run.Run`;
many runs are `table.results`; what a sweep says of each image is `sweep.Sweep`; questions are
`reading` and `confusion`.
"""
