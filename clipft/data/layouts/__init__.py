"""How the files of known data sets lie: one file a family, a function a layout.

A reader is told a domain's folder and its classes and returns the rows of each part: paths, labels,
groups. `readers.py` lists them by the names that manifests use, `asked.py` holds what goes in and
out. No pixel is touched, but where images lie in arrays: these are taken out into the cache once.
"""
