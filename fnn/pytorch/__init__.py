"""Convert weights from and to PyTorch: names are mapped, kernels transposed.

An array's name in PyTorch is the name of its module, a dot, and `weight` or `bias`. By
default, a layer of a `Sequential` or a `Parallel` is named by its position, as in
`torch.nn.Sequential`, or by its given name. Those of a `Residual` are `branch` and
`shortcut`; those of a `Composite` have the fields' names, with `blocks.0` for layer 0 of
the field `blocks`. The table `names` maps fnn's paths to PyTorch's names. Layers inside are
named below their parent, unless they are in the table too:

    {"residual_0": "layer1.0", "residual_0/branch/conv_0": "layer1.0.conv1"}

Images are (channels, height, width) in PyTorch, and are flattened in that order. So the
arrays after a `Flatten` are reordered, up to the next `Dense`.

Settings that are not in the weights must agree on both sides. PyTorch's default `eps` of
`RMSNorm` differs, and its `momentum` of `BatchNorm2d` is 1 minus fnn's.
"""

from fnn.lazy import explain_missing as _explain_missing
from fnn.pytorch.state_dicts import from_state_dict as from_state_dict
from fnn.pytorch.state_dicts import load as load
from fnn.pytorch.state_dicts import save as save
from fnn.pytorch.state_dicts import to_state_dict as to_state_dict

_explain_missing(__name__)
