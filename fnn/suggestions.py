"""Guess what an unknown name was meant to be; imported only if something fails.

`ELSEWHERE` has the names of PyTorch, Keras, Flax, Equinox and Optax that differ from fnn's
in more than case and underscores. `ABSENT` has the names of features that fnn lacks.
"""

import ast
import difflib
import fnmatch
import functools
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent

ELSEWHERE = {
    "fnn.Dense": ["Linear"],
    "fnn.Conv": ["Conv1d", "Conv2d", "Conv3d", "Convolution"],
    "fnn.ConvTranspose": [
        "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
        "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose",
    ],
    "fnn.DepthwiseConv": ["DepthwiseConv1D", "DepthwiseConv2D"],
    "fnn.MaxPool": [
        "MaxPool1d", "MaxPool2d", "MaxPool3d",
        "MaxPooling1D", "MaxPooling2D", "MaxPooling3D",
    ],
    "fnn.AvgPool": [
        "AvgPool1d", "AvgPool2d", "AvgPool3d",
        "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
    ],
    "fnn.GlobalPool": [
        "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d",
        "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling2D",
    ],
    "fnn.BatchNorm": ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "BatchNormalization"],
    "fnn.LayerNorm": ["LayerNormalization"],
    "fnn.GroupNorm": ["GroupNormalization"],
    "fnn.RMSNorm": ["RMSNormalization"],
    "fnn.InstanceNorm": ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"],
    "fnn.Embedding": ["Embed"],
    "fnn.Layer": ["Module"],
    "fnn.Sequential": ["ModuleList", "Model"],
    "fnn.Remat": ["checkpoint_sequential", "RematScan"],
    "fnn.batched": ["vmap"],
    "fnn.layers": ["nn", "linen", "nnx"],
    "fnn.layers.Function": ["Lambda", "Activation"],
    "fnn.activations.identity": ["Identity"],
    "fnn.activations.silu": ["Swish"],
    "fnn.activations.hard_silu": ["Hardswish"],
    "fnn.activations": ["functional"],
    "fnn.initializers": ["init"],
    "fnn.initializers.glorot_uniform": ["xavier_uniform", "xavier_uniform_"],
    "fnn.initializers.glorot_normal": ["xavier_normal", "xavier_normal_"],
    "fnn.initializers.he_uniform": ["kaiming_uniform", "kaiming_uniform_"],
    "fnn.initializers.he_normal": ["kaiming_normal", "kaiming_normal_"],
    "fnn.losses.mean_squared_error": ["MSELoss", "mse_loss", "mse"],
    "fnn.losses.mean_absolute_error": ["L1Loss", "l1_loss", "mae"],
    "fnn.losses.half_squared_error": ["l2_loss"],
    "fnn.losses.huber": ["HuberLoss", "huber_loss", "SmoothL1Loss", "smooth_l1_loss"],
    "fnn.losses.softmax_cross_entropy": [
        "CrossEntropyLoss", "cross_entropy", "categorical_crossentropy",
        "CategoricalCrossentropy", "SparseCategoricalCrossentropy",
        "softmax_cross_entropy_with_integer_labels",
    ],
    "fnn.losses.binary_cross_entropy": [
        "BCELoss", "BCEWithLogitsLoss", "BinaryCrossentropy",
        "binary_cross_entropy_with_logits", "sigmoid_binary_cross_entropy",
    ],
    "fnn.losses.nll": ["NLLLoss", "nll_loss"],
    "fnn.losses.gaussian_nll": ["GaussianNLLLoss", "gaussian_nll_loss"],
    "fnn.losses.poisson_nll": ["PoissonNLLLoss", "poisson_nll_loss"],
    "fnn.losses.kl_divergence": ["KLDivLoss", "kl_div", "KLDivergence"],
    "fnn.losses.hinge": ["HingeLoss", "hinge_loss"],
    "fnn.losses.binary_focal": ["BinaryFocalCrossentropy", "sigmoid_focal_loss"],
    "fnn.losses.cosine_distance": ["CosineEmbeddingLoss", "CosineSimilarity"],
    "fnn.optimizers": ["optim"],
    "fnn.optimizers.ByPath": ["multi_transform"],
    "fnn.optimizers.Frozen": ["set_to_zero"],
    "fnn.optimizers.ClipByValue": ["clip", "clip_grad_value_"],
    "fnn.optimizers.ClipByGlobalNorm": ["clip_grad_norm_", "clip_grad_norm"],
    "fnn.optimizers.ExponentialMovingAverage": ["ema", "AveragedModel"],
    "fnn.regularizers": ["regularization"],
    "fnn.schedules": ["lr_scheduler"],
    "fnn.schedules.StepDecay": ["StepLR"],
    "fnn.schedules.Piecewise": [
        "MultiStepLR", "piecewise_constant_schedule", "PiecewiseConstantDecay"
    ],
    "fnn.schedules.ExponentialDecay": ["ExponentialLR"],
    "fnn.schedules.CosineDecay": ["CosineAnnealingLR", "cosine_decay_schedule"],
    "fnn.schedules.OneCycle": ["OneCycleLR", "cosine_onecycle_schedule"],
    "fnn.schedules.PolynomialDecay": [
        "PolynomialLR", "polynomial_schedule", "linear_schedule",
    ],
    "fnn.schedules.ReduceOnPlateau": ["ReduceLROnPlateau", "reduce_on_plateau"],
    "fnn.schedules.Warmup": ["warmup_cosine_decay_schedule"],
    "fnn.data.batches": ["DataLoader"],
}  # fmt: skip
"""Names of other libraries, by fnn's equivalent."""

ABSENT = {
    "attention": ["MultiHeadAttention", "MultiheadAttention", "Attention", "SelfAttention"],
    "transformers": ["Transformer", "TransformerEncoder", "TransformerEncoderLayer"],
    "recurrent layers": [
        "RNN", "RNNCell", "SimpleRNN", "SimpleCell", "Bidirectional",
        "LSTM", "LSTMCell", "OptimizedLSTMCell", "GRU", "GRUCell", "ConvLSTMCell",
    ],
    "spectral or weight normalization": ["SpectralNorm", "WeightNorm"],
}  # fmt: skip
"""Names of other libraries for features that fnn lacks, by feature."""

ARGUMENTS = {
    "features": ["units", "out_features", "filters", "out_channels", "embedding_dim"],
    "learning_rate": ["lr"],
    "kernel_size": ["kernel_shape"],
    "window": ["pool_size", "kernel_size", "window_shape"],
    "stride": ["strides"],
    "dilation": ["kernel_dilation", "dilation_rate", "rhs_dilation"],
    "groups": ["num_groups", "feature_group_count"],
    "bias": ["use_bias"],
    "kernel_init": ["kernel_initializer", "weight_init", "w_init"],
    "bias_init": ["bias_initializer", "b_init"],
    "rate": ["p", "drop_rate"],
    "eps": ["epsilon"],
    "b1": ["beta_1", "beta1"],
    "b2": ["beta_2", "beta2"],
    "vocabulary": ["num_embeddings", "input_dim", "vocab_size"],
    "times": ["length", "n", "depth"],
}
"""Argument names of other libraries, by fnn's."""


def hint(module: str, name: str) -> str:
    """Return the text to add to the error for a name that a module does not have.

    Example:
        >>> hint("fnn", "Linear")
        '; did you mean fnn.Dense?'
        >>> hint("fnn.layers", "LSTMCell")
        '; fnn has no recurrent layers'
    """
    for what, names in ABSENT.items():
        if _plain(name) in map(_plain, names):
            return f"; fnn has no {what}"
    meant = suggestion(module, name)
    return f"; did you mean {meant}?" if meant else ""


def hint_on_paths(pattern: str | tuple[str, ...], paths: list[str]) -> str:
    """Return the text to add to the error for globs that match no path.

    Example:
        >>> hint_on_paths("*/layer/kernel", ["repeat_0/stack/kernel"])
        "; a Repeat's parameters are under 'stack': '*/stack/kernel' matches"
    """
    for glob in (pattern,) if isinstance(pattern, str) else pattern:
        now = "/".join("stack" if part == "layer" else part for part in glob.split("/"))
        if now != glob and any(fnmatch.fnmatchcase(path, now) for path in paths):
            return f"; a Repeat's parameters are under 'stack': {now!r} matches"
    return f"; the paths are {paths}"


def suggestion(module: str, name: str) -> str | None:
    """Return the public name most likely meant by a name that a module does not have."""
    plain = _plain(name)
    # `fnn.layers.Dense` is shown as `fnn.Dense`.
    names = public_names()
    own = [public for public in names if public.rpartition(".")[0] == module]
    # Try the same name here and elsewhere in fnn, then other libraries', then misspellings.
    for public in (*own, *names):
        if _plain(public) == plain:
            return public
    for public, others in ELSEWHERE.items():
        if plain in map(_plain, others):
            return public
    for candidates, cutoff in ((own, 0.75), (names, 0.85)):
        by_plain = {_plain(public): public for public in reversed(candidates)}
        if close := difflib.get_close_matches(plain, by_plain, n=1, cutoff=cutoff):
            return by_plain[close[0]]
    return None


def misnamed(owner: str, given: Iterable[str], fields: list[str]) -> str:
    """Return an error text with the unknown arguments, and those likely meant.

    Example:
        >>> misnamed("fnn.Dropout", ["p"], ["rate"])
        "fnn.Dropout has no argument 'p' (did you mean 'rate'?); it has rate"
    """
    unknown = [name for name in given if name not in fields]
    parts = []
    for name in unknown:
        known = [field for field in fields if name in ARGUMENTS.get(field, ())]
        close = known or difflib.get_close_matches(name, fields, n=1, cutoff=0.7)
        parts.append(f"{name!r} (did you mean {close[0]!r}?)" if close else repr(name))
    message = f"{owner} has no argument {', '.join(parts)}; it has {', '.join(fields)}"
    if "activation" in unknown:
        message += "; an activation is a separate layer, placed after it"
    return message


@functools.cache
def public_names() -> list[str]:
    """Return every public name of fnn, the shortest first; nothing is imported."""
    modules = sorted(_exported(ROOT))
    names = [f"fnn.{name}" for name in modules]
    for module in modules:
        folder, file = ROOT / module, ROOT / f"{module}.py"
        if folder.is_dir():
            names += [f"fnn.{module}.{name}" for name in sorted(_exported(folder))]
        elif file.exists():
            names += [f"fnn.{module}.{name}" for name in _defined(file)]
    return names


def _exported(package: Path) -> set[str]:
    """Return a package's exports: names of its stub, or imported `as` themselves."""
    stub, source = package / "__init__.pyi", package / "__init__.py"
    body = ast.parse((stub if stub.exists() else source).read_text(encoding="utf-8")).body
    imports = [node for node in body if isinstance(node, ast.ImportFrom)]
    names = (alias.asname for node in imports for alias in node.names)
    return {name for name in names if name and not name.startswith("_")}


def _defined(file: Path) -> list[str]:
    """Return the names a module defines, without constants in capitals."""
    names = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            targets = (t.id for t in node.targets if isinstance(t, ast.Name))
            names += [name for name in targets if not name.isupper()]
    return [name for name in names if not name.startswith("_")]


def _plain(name: str) -> str:
    """Return the last part of a name, without case and underscores."""
    return name.rpartition(".")[2].replace("_", "").lower()
