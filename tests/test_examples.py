"""The README's code and the examples run, and reach what they claim."""

import re
import sys

import jax.numpy as jnp
import matplotlib.image
import pytest
from pages import ROOT, python_blocks, run

sys.path.insert(0, str(ROOT / "examples"))

README = (ROOT / "README.md").read_text()


def test_code_of_the_readme_runs_in_order(capsys, tmp_path, monkeypatch):
    """The blocks share a namespace, as they would in a notebook."""
    monkeypatch.chdir(tmp_path)
    namespace = {}
    run(ROOT / "README.md", python_blocks(ROOT / "README.md"), namespace)
    printed = capsys.readouterr().out
    assert "(64, 128)" in printed
    assert "(359, 10)" in printed
    accuracy = float(re.search(r"'accuracy': ([0-9.]+)", printed)[1])
    assert accuracy > 0.95
    assert namespace["train_state"].step == 45


def test_readme_is_of_thirty_lines():
    block = re.search(r"## Thirty lines\n\n```python\n(.*?)```", README, re.DOTALL)[1]
    assert len(block.splitlines()) <= 33


def test_digits(tmp_path, capsys):
    import digits

    accuracy = digits.main(outputs=str(tmp_path))
    assert accuracy >= 0.97
    for name in ("digits_learning_curves.png", "digits_misclassified.png"):
        assert matplotlib.image.imread(tmp_path / name).std() > 0.05
    printed = capsys.readouterr().out
    assert "dense_2" in printed
    assert "test accuracy" in printed


@pytest.mark.slow
def test_transfer_helps_where_labels_are_few(mnist_folder):
    import transfer

    (scores,) = transfer.main(str(mnist_folder), (2,), (0,), source_images=3000).values()
    assert min(scores["frozen"], scores["tuned"]) > scores["scratch"] > 0.4


@pytest.mark.slow
def test_activations(tmp_path):
    import activations

    found = activations.main(outputs=str(tmp_path))
    assert found["sigmoid"].slope == 0.25
    assert found["sigmoid"].left < 1e-6
    assert found["binary step"].slope == found["sign"].slope == 0
    assert found["tanh"].left == found["ReLU"].left == 1
    assert found["SELU"].slope == pytest.approx(1.0507 * 1.6733, abs=0.005)
    assert found["SiLU"].low == pytest.approx(-0.2785, abs=1e-4)
    assert matplotlib.image.imread(tmp_path / "activations.png").shape[1] > 1000


def test_shortcuts_help_depth():
    import residual

    results = residual.main(depth=20, epochs=1)
    (plain, _), (loss, _) = results["plain"], results["residual"]
    assert loss < plain


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "epochs", "accuracy"), [("mlp", 3, 0.98), ("lenet", 2, 0.985)]
)
def test_mnist(mnist_folder, name, epochs, accuracy):
    """In fewer epochs than the example's own, whose figures examples/README.md has."""
    import mnist

    assert mnist.main(str(mnist_folder), name, epochs) >= accuracy


@pytest.mark.slow
def test_private_mnist(mnist_folder, tmp_path):
    """With a network that takes seconds."""
    import private_mnist

    import fnn

    private, spent, ordinary = private_mnist.main(
        str(mnist_folder),
        fnn.models.mlp(32, 10, activation=jnp.tanh),
        epsilon=2.0,
        epochs=2,
        outputs=str(tmp_path),
    )
    assert 1.99 < spent <= 2.0
    assert ordinary > private > 0.85
    assert matplotlib.image.imread(tmp_path / "private_mnist.png").std() > 0.05
