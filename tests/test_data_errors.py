"""Every way in names data that is not made of arrays of numbers, and says what to give."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from contracts import key, notes

import fnn
from fnn import checks, losses, metrics

MODEL = fnn.Sequential(fnn.Dense(3))
PARAMS = {
    "dense_0": {"kernel": np.zeros((4, 3), "float32"), "bias": np.zeros(3, "float32")}
}
X, Y = np.zeros((6, 4), "float32"), np.arange(6, dtype="int32") % 3
SGD = fnn.optimizers.SGD(0.1)
OBJECTIVE = fnn.supervised(MODEL, losses.softmax_cross_entropy)
LENGTH = 500  # characters; more than that would have grown with the data


class Lazy:
    """Reads rows, and does not know its shape."""

    def __len__(self):
        return len(X)

    def __getitem__(self, rows):
        return X[rows]


class Sparse:
    """Looks like a matrix of SciPy's."""

    shape, dtype = X.shape, X.dtype

    def toarray(self):
        return X


def objects(rows):
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


BAD = {
    "list": (X.tolist, r"a list of 6, its first list; give numpy.asarray"),
    "long list": (lambda: np.zeros((2000, 4)).tolist(), "a list of 2000"),
    "deep list": (lambda: np.zeros((2, 2, 2, 2)).tolist(), "a list of 2"),
    "ragged": (lambda: [[1.0, 2.0], [3.0]] * 3, "pad its rows, of 1 to 2 elements"),
    "big-endian": (
        lambda: X.astype(">f4"),
        r"got >f4\[6,4\]; give its astype\('float32'\)",
    ),
    "objects": (lambda: X.astype(object), r"object\[6,4\]; give its astype\('float32'\)"),
    "rows": (lambda: objects(list(X)), r"object\[6\]; give numpy.stack"),
    "unlike rows": (lambda: objects([X[0], X[0, :2]]), "differ in shape: pad them"),
    "text": (lambda: X.astype(str), r"<U32\[6,4\]; number the classes: .*numpy.unique"),
    "text objects": (lambda: X.astype(str).astype(object), "number the classes"),
    "bytes": (lambda: X.astype("S3"), r"\|S3\[6,4\]; number the classes"),
    "dates": (lambda: X.astype("datetime64[s]"), r"its astype\('int64'\), in units"),
    "fields": (lambda: np.zeros(6, [("a", "f4"), ("b", "i4")]), "give its fields a, b"),
    "extended": (lambda: X.astype(np.longdouble), r"give its astype\('float64'\)"),
    "masked": (lambda: np.ma.masked_array(X, X == 0), r"mask would be lost.*filled"),
    "sparse": (Sparse, r"got Sparse float32\[6,4\]; .* give its toarray\(\)"),
    "lazy": (Lazy, "got Lazy; .* must have shape and dtype.*fnn.data.Streamed"),
    "number": (lambda: 3.0, "got float 3.0; give a NumPy or JAX array"),
    "path": (lambda: "x.npy", "got str 'x.npy'; give a NumPy or JAX array"),
}
# Objects that NumPy holds as they are, so they can be divided, and those it converts.
ONLY_NUMPY = {
    "big-endian",
    "objects",
    "rows",
    "unlike rows",
    "text",
    "text objects",
    "bytes",
    "dates",
    "fields",
    "extended",
}
LISTS = {"list", "long list", "deep list"}


def fit(data=(X, Y), **changes):
    arguments = {"epochs": 1, "batch_size": 3, "progress": False, "key": key()}
    return fnn.fit(MODEL, losses.softmax_cross_entropy, SGD, data, **(arguments | changes))


WAYS_IN = {
    "fit": (lambda x: fit((x, Y)), "data x"),
    "validation": (lambda x: fit(validation=(x, Y)), "validation x"),
    "loader": (lambda x: fit(lambda epoch: [(x, Y)], batch_size=None), "a batch x"),
    "tree": (lambda x: fit(({"a": X, "b": x}, Y)), "data x/b"),
    "train": (
        lambda x: fnn.train(OBJECTIVE, SGD, (x, Y), key=key(), epochs=1, batch_size=3),
        "data x",
    ),
    "evaluate": (
        lambda x: fnn.evaluate(MODEL, PARAMS, {}, (x, Y), {"a": metrics.accuracy}),
        "data x",
    ),
    "predict": (lambda x: fnn.predict(MODEL, PARAMS, {}, x), "x"),
    "Streamed": (lambda x: fnn.data.Streamed(x, Y), "Streamed x"),
    "cross_validate": (
        lambda x: fnn.search.cross_validate(
            (OBJECTIVE, SGD), [{}], (x, Y), k=2, key=key(), epochs=1, batch_size=3
        ),
        "data x",
    ),
    "search": (
        lambda x: fnn.search.Study(
            (OBJECTIVE, SGD), (x, Y), (X, Y), epochs=1, batch_size=3
        ),
        "data x",
    ),
    "split": (lambda x: fnn.data.split((x, Y), (3, 3), key=key()), "data 0"),
    "batches": (lambda x: next(fnn.data.batches((x, Y), 3)), "data 0"),
    "k_fold": (lambda x: fnn.data.k_fold((x, Y), 2, key=key()), "data 0"),
    "Standardize": (fnn.data.Standardize.fit, "x"),
}


def taken(way, bad):
    """Return whether NumPy, which does the work there, takes such an object."""
    if way == "Standardize":
        return bad in LISTS | {"number", "extended"}
    return way in ("split", "batches", "k_fold") and bad in ONLY_NUMPY


CASES = [(way, bad) for way in WAYS_IN for bad in BAD if not taken(way, bad)]


@pytest.mark.parametrize(("way", "bad"), CASES)
def test_what_is_no_array_of_numbers_is_named(way, bad):
    (call, name), (make, message) = WAYS_IN[way], BAD[bad]
    with pytest.raises(TypeError, match=rf"^{name} must be an array.*{message}") as error:
        call(make())
    assert len(str(error.value)) < LENGTH


@pytest.mark.parametrize("size", [10, 100_000])
def test_an_error_does_not_grow_with_the_data(size):
    for tree in ([0.0] * size, {"x": (X,) * size}, {str(i): X for i in range(size)}):
        assert len(checks.describe(tree)) <= 310
    assert len(checks.describe("a" * size)) < 100
    with pytest.raises(ValueError, match=r"as many examples.*numpy.stack") as error:
        checks.leading_length({"x": [X[0]] * size, "y": np.zeros(size)}, "data")
    assert len(str(error.value)) < LENGTH


def test_arrays_that_jax_can_hold_pass():
    for x in (X, jnp.zeros(3), np.zeros(3, bool), jnp.zeros(3, jnp.bfloat16), key()[None]):
        checks.arrays(x, "x")
        checks.arrays({"a": (x, [x])}, "x")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda t: t.utils.data.TensorDataset(t.zeros(6, 4)),
            "TensorDataset; data that is",
        ),
        (lambda t: t.utils.data.DataLoader([0]), "DataLoader; give a NumPy or JAX array"),
        (lambda t: t.nn.Linear(4, 4), "Linear; give a NumPy or JAX array"),
        (lambda t: t.float32, "dtype; give a NumPy or JAX array"),
        (lambda t: t.Tensor, "Tensor; give an instance, not the class"),
        (
            lambda t: t.nested.nested_tensor([t.zeros(3), t.zeros(4)]),
            r"Tensor; its rows differ in length: give its to_padded_tensor\(0\)",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_else_comes_from_pytorch_is_named(make, message):
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=f"^x must be an array of numbers, got .*{message}"):
        checks.arrays(make(torch), "x")


def test_a_layer_refuses_tensors_of_pytorch():
    torch = pytest.importorskip("torch")
    for tensor, instead in (
        (torch.zeros(4), r"numpy.asarray\(...\) of it"),
        (torch.zeros(4, requires_grad=True), r"its detach\(\)"),
    ):
        with pytest.raises(TypeError, match=f"Dense takes an array of.*give {instead}"):
            fnn.Dense(2).init(key(), tensor)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: t.zeros(6, 4, requires_grad=True), r"torch.float32\[6,4\].*detach\(\)$"),
        (lambda t: t.zeros(6, 4, dtype=t.bfloat16), r"bfloat16.*give its float\(\)$"),
        (lambda t: t.zeros(6, 4, device="meta"), r"give its cpu\(\)$"),
        (lambda t: t.zeros(6, 4).to_sparse(), r"give its to_dense\(\)$"),
        (lambda t: t.zeros(6, 4, dtype=t.complex64).conj(), r"resolve_conj\(\)$"),
        (
            lambda t: t.zeros(6, 4, dtype=t.bfloat16, requires_grad=True),
            r"detach\(\).float\(\)$",
        ),
    ],
)
@pytest.mark.parametrize("way", WAYS_IN)
def test_tensors_of_pytorch_say_how_numpy_can_read_them(way, make, message):
    torch = pytest.importorskip("torch")
    call, name = WAYS_IN[way]
    with pytest.raises(TypeError, match=rf"^{name} must be an array.*{message}"):
        call(make(torch))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fit((None, Y)), ValueError, "data x must be an array, got NoneType None"),
        (lambda: fit("data.csv"), TypeError, "data must be a pair.*got str 'data.csv'"),
        (lambda: fit(validation="test"), TypeError, "validation must be a pair"),
        (lambda: fit(validation=X), TypeError, r"validation must be a pair.*\[6,4\]"),
        (lambda: fit(validation=0.2), TypeError, "got float 0.2; fnn.data.split divides"),
        (lambda: fit(Lazy()), TypeError, "data must be a pair.*got Lazy"),
        (lambda: fit([(X, Y)] * 3), TypeError, "data must be a pair"),
        (
            lambda: fnn.data.split((X, Y), 0.8, key=key()),
            TypeError,
            "sizes must be a tuple of fractions or of counts.*got float 0.8",
        ),
        (
            lambda: fnn.data.split(X, Y, key=key()),
            TypeError,
            r"sizes must be .* got int32\[6\]",
        ),
        (
            lambda: fnn.data.one_hot(Y.astype(str), 3),
            TypeError,
            "labels must be an array of numbers, got <U11.*numpy.unique",
        ),
    ],
)
def test_data_of_another_form(call, error, message):
    with pytest.raises(error, match=message) as raised:
        call()
    assert len(str(raised.value)) < LENGTH


STREAM = np.zeros((1000, 4), "float32"), np.where(np.arange(1000) == 900, 7, 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: fit(fnn.data.Streamed(*STREAM)),
        lambda: fit(validation=fnn.data.Streamed(*STREAM)),
        lambda: fnn.evaluate(
            MODEL, PARAMS, {}, fnn.data.Streamed(*STREAM), {"a": metrics.accuracy}
        ),
    ],
)
def test_a_label_far_into_streamed_data_is_seen_before_training(call):
    with pytest.raises(ValueError, match="must be from 0 to 2, got 7") as error:
        call()
    assert "the target of example 900 of" in notes(error)


def test_a_label_of_a_loaders_later_batch_is_named():
    batches = [(X, Y), (X, Y), (X, Y + 1)]
    call = functools.partial(fnn.evaluate, MODEL, PARAMS, {}, iter_of(batches))
    with pytest.raises(ValueError, match="must be from 0 to 2, got 3") as error:
        call({"loss": losses.softmax_cross_entropy})
    assert "chunk 2 (from 0) of data" in notes(error)
    with pytest.warns(RuntimeWarning, match="must be from 0 to 2, got 3"):
        fit(lambda epoch: batches, batch_size=None)


def iter_of(batches):
    """Return an iterable that is not a list."""
    return dict(enumerate(batches)).values()
