"""From the program of one example's gradient to the parts of `fnn.per_example.parts`.

This room reads jaxprs: it turns one into a graph, walks back from each parameter's gradient
to the products that form it, and takes them out of `scan`. It knows no batch, since all it
does happens inside `vmap`.
"""
