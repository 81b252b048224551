"""What is done after training, one file a method: weights in, weights out.

The functions know nothing of runs and images: what they may ask of held-out images is the protocol
in `held_out`, what weights are is in `weights`. Each `apply_*` is what an entry of `clipft.methods`
names. What mixes each image anew gives what it fitted, see `per_image`. Start at `wise`, which
mixes at any alpha.
"""
