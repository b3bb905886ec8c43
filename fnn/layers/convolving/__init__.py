"""The engine of convolutions and of pools over windows, in three levels.

1. A layer says what the user asked for: `stride=2, padding="same"` (`arguments` checks it).
2. A `Window` says where that puts the kernel on an array of a given size: one stride, one
   dilation and one (low, high) pair of padding for each spatial axis (`windows`).
3. XLA slides a kernel by `Steps`: stride, padding, lhs_dilation, rhs_dilation. A forward
   pass and the gradients of its input and kernel are three such convolutions, of
   different operands and steps (`correlation`).

`depthwise` computes groups of one channel without XLA's convolution. `transposing` turns
gradients that are written by hand into tangents, which JAX transposes back.
"""
