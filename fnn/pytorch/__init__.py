"""Weights from and to PyTorch: names mapped, kernels transposed, both directions.

In PyTorch an array bears the name of its module, a dot, and `weight` or `bias`. Modules
are named like this, unless a table says otherwise: a layer of a `Sequential` or a
`Parallel` by its position, as in `torch.nn.Sequential`, or by the name that it was given;
those of a `Residual` are `branch` and `shortcut`, those of a `Composite` the fields, with
`blocks.0` for layer 0 of the field `blocks`. The table, `names`, has PyTorch's name
by fnn's path; what is inside is named below it, unless it is in the table too:

    {"residual_0": "layer1.0", "residual_0/branch/conv_0": "layer1.0.conv1"}

Images are (channels, height, width) in PyTorch, and flattened in that order. What follows
a `Flatten` is therefore reordered, up to the next `Dense`.

What is not in the weights must be the same on both sides. PyTorch's default `eps` of
`RMSNorm` is another one, and its `momentum` of `BatchNorm2d` is 1 less fnn's.
"""

from fnn.lazy import explain_missing as _explain_missing
from fnn.pytorch.state_dicts import from_state_dict as from_state_dict
from fnn.pytorch.state_dicts import load as load
from fnn.pytorch.state_dicts import save as save
from fnn.pytorch.state_dicts import to_state_dict as to_state_dict

_explain_missing(__name__)
