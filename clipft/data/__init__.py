"""Data sets: a manifest (YAML) becomes splits, and a split is rows of image files with labels.

Here live manifests, splits, the built-in EmojiShift, and what reads an image file. This room may
touch the disk and Pillow; it knows no model, no run and no tensor. Start at `manifests.py`.
"""
