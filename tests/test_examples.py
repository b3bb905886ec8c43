"""The README's code and the examples run, and reach what they claim."""

import re
import sys

import jax.numpy as jnp
import matplotlib.image
import pytest
from pages import ROOT, python_blocks, run

sys.path.insert(0, str(ROOT / "examples"))

README = (ROOT / "README.md").read_text(encoding="utf-8")


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
def test_transfer_helps_where_labels_are_few(mnist_folder, tmp_path):
    import transfer

    folders = {"data": str(mnist_folder), "outputs": str(tmp_path)}
    results = transfer.main(
        labels_per_class=(2,), seeds=(0,), source_images=3000, **folders
    )
    scores = {name: score for name, (score,) in results[2].items()}
    least = min(scores["frozen body"], scores["tuned body"])
    assert least > scores["from scratch"] > 0.4
    assert matplotlib.image.imread(tmp_path / "transfer.png").std() > 0.05


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


@pytest.mark.slow
def test_shortcuts_help_depth(tmp_path):
    import residual

    histories = residual.main(depths=(20,), epochs=1, outputs=str(tmp_path))
    plain, shortcuts = (histories[name][20] for name in ("plain", "residual"))
    assert shortcuts["loss"][0] < plain["loss"][0]
    assert shortcuts["error"][0] < plain["error"][0]
    assert matplotlib.image.imread(tmp_path / "residual.png").std() > 0.05


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
