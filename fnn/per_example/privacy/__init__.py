"""Private training: clipped sums, noise, and the ε that they spend.

`clipping` and `noise` make gradients; `accounting` adds up their cost, by the bounds in
`composition`, in plain Python. Nothing else in the package imports from this room.
"""
