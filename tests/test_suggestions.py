"""A name that fnn does not have gets an error that names the one that is meant."""

import importlib
import inspect
import re
import subprocess
import sys

import pytest
from pages import DOCS
from test_public_api import MODULES, PUBLIC

import fnn
from fnn.suggestions import ABSENT, ARGUMENTS, ELSEWHERE, public_names

MEANT = {
    # Another case or spelling, here or in another module of fnn's.
    "fnn.dense": "fnn.Dense",
    "fnn.Sequentail": "fnn.Sequential",
    "fnn.Adam": "fnn.optimizers.Adam",
    "fnn.adam": "fnn.optimizers.Adam",
    "fnn.LeakyReLU": "fnn.activations.leaky_relu",
    "fnn.he_normal": "fnn.initializers.he_normal",
    "fnn.optimizers.adam": "fnn.optimizers.Adam",
    "fnn.optimizers.clip_by_global_norm": "fnn.optimizers.ClipByGlobalNorm",
    "fnn.optimizers.CosineDecay": "fnn.schedules.CosineDecay",
    "fnn.training.EarlyStoping": "fnn.training.EarlyStopping",
    "fnn.schedules.cosine_decay": "fnn.schedules.CosineDecay",
    "fnn.data.mixup": "fnn.data.Mixup",
    "fnn.layers.conv2D": "fnn.Conv",
    # Another library's word.
    "fnn.Linear": "fnn.Dense",
    "fnn.Conv2d": "fnn.Conv",
    "fnn.BCEWithLogitsLoss": "fnn.losses.binary_cross_entropy",
    "fnn.losses.CrossEntropyLoss": "fnn.losses.softmax_cross_entropy",
    "fnn.initializers.xavier_normal": "fnn.initializers.glorot_normal",
    "fnn.schedules.StepLR": "fnn.schedules.StepDecay",
    "fnn.nn": "fnn.layers",
}


def ask(name):
    module, _, last = name.rpartition(".")
    thing = fnn
    for part in module.split(".")[1:]:
        thing = getattr(thing, part)
    with pytest.raises(AttributeError) as error:
        getattr(thing, last)
    return str(error.value)


@pytest.mark.parametrize("name", MEANT)
def test_the_name_that_is_meant_is_named(name):
    module, _, last = name.rpartition(".")
    message = f"module {module!r} has no attribute {last!r}; did you mean {MEANT[name]}?"
    assert ask(name) == message


@pytest.mark.parametrize("name", ["fnn.qwerty", "fnn.losses.qwerty", "fnn.__wrapped__"])
def test_nothing_is_named_where_nothing_is_near(name):
    assert ask(name).endswith(f"has no attribute {name.rpartition('.')[2]!r}")


def test_what_fnn_does_not_have_is_said():
    absent = [name for names in ABSENT.values() for name in names]
    assert ask("fnn.LSTMCell").endswith("'LSTMCell'; fnn has no recurrent layers")
    assert ask("fnn.Lstm").endswith("'Lstm'; fnn has no recurrent layers")
    assert ask("fnn.layers.MultiHeadAttention").endswith("; fnn has no attention")
    assert {name.lower() for name in absent}.isdisjoint(
        name.rpartition(".")[2].lower() for name in public_names()
    )


def test_an_import_says_it_too():
    with pytest.raises(ImportError, match=r"'Linear'; did you mean fnn\.Dense\?"):
        exec("from fnn import Linear")
    with pytest.raises(ImportError, match=r"did you mean fnn\.optimizers\.Adam\?"):
        exec("from fnn.optimizers import adam")
    with pytest.raises(ImportError, match=r"fnn\.losses\.mean_squared_error\?"):
        exec("from fnn.losses import MSELoss")
    exec("from fnn import values, pytorch")  # modules that the package does not export
    assert not hasattr(fnn, "Linear")


def test_names_are_those_that_are_public():
    modules = {name for name in public_names() if inspect.ismodule(_found(name))}
    listed = {name for name in PUBLIC if not name.startswith("fnn.pytorch.")}
    assert listed - {*public_names()} == set()
    assert {"fnn.losses", "fnn.tree", "fnn.optimizers"} <= modules
    for name in public_names():
        _found(name)


def _found(name):
    thing = importlib.import_module("fnn")
    for part in name.split(".")[1:]:
        thing = getattr(thing, part)
    return thing


def test_tables_name_what_exists():
    assert ELSEWHERE.keys() <= {*public_names()}
    others = [name for names in ELSEWHERE.values() for name in names]
    assert len(others) == len({*others})
    fields = {
        name
        for thing in PUBLIC.values()
        if inspect.isclass(thing) and issubclass(thing, fnn.Value)
        for name in inspect.signature(thing).parameters
    }
    assert ARGUMENTS.keys() <= fields


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.Dense(units=10), "fnn.Dense has no argument 'units' (did you mean "
         "'features'?); it has features, bias, kernel_init, bias_init"),
        (lambda: fnn.Conv(filters=8, kernel_size=3), "(did you mean 'features'?)"),
        (lambda: fnn.MaxPool(kernel_size=2), "(did you mean 'window'?)"),
        (lambda: fnn.Dense(3, bais=False), "'bais' (did you mean 'bias'?)"),
        (lambda: fnn.Dense(3, bias=True, qwerty=1), "argument 'qwerty'; it has features"),
        (lambda: fnn.Dense(3, activation="relu"), "is a separate layer"),
        (lambda: fnn.optimizers.Adam(lr=1e-3), "(did you mean 'learning_rate'?)"),
        (lambda: fnn.initializers.Normal(stdd=0.1), "(did you mean 'std'?)"),
        (fnn.Dense, "missing 1 required positional argument: 'features'"),
    ],
)  # fmt: skip
def test_the_argument_that_is_meant_is_named(make, message):
    with pytest.raises(TypeError) as error:
        make()
    assert message in str(error.value)
    assert error.value.__context__ is None


def test_a_layer_of_ones_own_says_it_too():
    class Scale(fnn.Layer):
        start: float = 1.0

        def __post_init__(self):
            if self.start < 0:
                raise TypeError("got an unexpected keyword argument, it seems")

    with pytest.raises(TypeError, match=r"no argument 'strat' \(did you mean 'start'\?\)"):
        Scale(strat=2.0)
    with pytest.raises(TypeError, match="it seems"):
        Scale(start=-1.0)
    assert list(inspect.signature(Scale).parameters) == ["start"]


def test_suggestions_cost_nothing_until_something_fails():
    code = (
        "import sys, fnn; [getattr(fnn, name) for name in dir(fnn)]; fnn.Dense(3);"
        "hasattr(fnn, '__wrapped__'); print('fnn.suggestions' in sys.modules);"
        "hasattr(fnn, 'Linear'); print('fnn.suggestions' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert result.stdout.split() == ["False", "True"]


def test_every_public_module_says_it():
    for module in MODULES:
        with pytest.raises(AttributeError, match=r"did you mean fnn\.Dense\?"):
            module.Linear  # noqa: B018


def test_the_guide_to_other_libraries_names_what_is_meant():
    """A row of its table that quotes another library's class has fnn's name for it."""
    page = (DOCS / "coming_from.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    pairs = [
        (other, public)
        for row in rows
        for public, others in ELSEWHERE.items()
        for other in others
        if other[0].isupper() and re.search(rf"`{other}\b", row)
    ]
    assert {other for other, _ in pairs} >= {"Linear", "MSELoss", "DataLoader"}
    for other, public in pairs:
        name = public.removeprefix("fnn.")
        assert any(name in row for row in rows if re.search(rf"`{other}\b", row))
