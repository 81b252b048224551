"""Files and words become tensors: batches of pixels, prompts, captions, random texts.

This room may touch torch and the room data; it knows no model and no run. Every random
draw has its own named generator (`seeds.py`). Start at `batches.py`.
"""
