"""From data to the input train of a model, one code per file.

`encoder(x, mask, key)` returns a train and its mask. `x` is `(T, B, C)` and `mask` `(T, B)`, true at the steps of each
trial; a static input has T = 1. `key` is None in evaluation; in training it is fresh for every step of the optimizer
and drives whatever the encoder draws.
"""
