"""Single convolutions and pools, in each form that fnn has, forward and backward."""

from benchmarks.suite import FNN, Suite

FORMS = ("native", "ordered", "patches", "shifts")

SUITE = Suite(
    name="convolution",
    title="images (B, H, W, C), layer",
    cases=(
        "(128, 28, 28, 1), 3x3 to 32",
        "(128, 14, 14, 32), 3x3 to 64",
        "(64, 32, 32, 16), 3x3 to 16",
        "(64, 32, 32, 16), 3x3 to 16, in a loop",
        "(64, 16, 16, 32), 3x3 to 32",
        "(64, 8, 8, 64), 3x3 to 64",
        "(32, 28, 28, 1), 5x5 to 6",
        "(128, 14, 14, 6), 5x5 to 16",
        "(64, 14, 14, 64), 1x1 to 64",
        "(32, 16, 16, 32), 3x3 to 32, 4 groups",
        "(32, 16, 16, 32), 3x3 to 32, 32 groups",
        "(128, 28, 28, 32), 2x2 max pool",
        "(64, 32, 32, 16), 3x3 max pool, stride 2",
        "(128, 28, 28, 32), 2x2 mean pool",
    ),
    rivals={
        FNN: "benchmarks.convolution.layers:chosen",
        **{form: f"benchmarks.convolution.layers:{form}" for form in FORMS},
        "oneDNN in jaxlib": "benchmarks.convolution.onednn_layers",
        "PyTorch": "benchmarks.convolution.torch_layers",
    },
    per="layer, forward and backward",
)
