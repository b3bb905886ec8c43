"""Stacks of residual blocks, x + relu(W x + b), and a small convolutional network.

The suites `compile`, `growth` and `memory` train them, each at sizes of its own.
"""
