"""open_clip models in, open_clip models out; between them what trains, and its embeddings.

Images and texts become embeddings here, once; every later question is asked of those. May use
disk, data, diagnostics, inputs and posthoc; knows no run. Start with `load.load_clip` (a model),
`students` (what trains), `embeddings.extract` (a split as numbers), `export.export_clip` and
`predict.Predictor` (what leaves the library).
"""
