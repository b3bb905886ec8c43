"""The parts of a kept gradient: matrix products, rows of tables, formed arrays.

Here are the formulas: norms, sums and inner products from operands. This room works on
arrays; it knows no jaxpr and no loss.
"""
