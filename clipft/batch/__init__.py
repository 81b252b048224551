"""Batches: notebooks times parameters, each run in a process of its own.

It runs notebooks through papermill and reads their outcome; it imports no torch (a notebook's own
kernel does). Start at `spec.plan`, which says what a batch will run, then `runner.run_batch`.
"""
