"""What tuning did to a model: formulas over embeddings and weights, one file a diagnostic.

Tensors and arrays come in, numbers go out: no runs, no models, no images (`reports` asks these
questions of finished runs). Start with `energies`, which training and measurement share.
"""
