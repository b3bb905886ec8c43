"""How values print, compare and pickle at the edges."""

import copy
import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.values import Value, paths_to, public_name, reads_the_same, replace_at, show


class Box(Value):
    """Holds anything."""

    content: object
    rate: float = 0.1


def top_level(x):
    return x


PUBLIC = {
    "jax.nn.relu": jax.nn.relu,
    "jax.nn.gelu": jax.nn.gelu,
    "jax.nn.silu": jax.nn.swish,
    "jax.nn.tanh": jnp.tanh,
    "jax.numpy.add": jnp.add,
    "jax.numpy.concatenate": jnp.concatenate,
    "jax.lax.stop_gradient": jax.lax.stop_gradient,
    "jax.numpy.float32": jnp.float32,
    "fnn.activations.relu": fnn.activations.relu,
    "fnn.Dense": fnn.Dense,
    "fnn.optimizers.Adam": fnn.optimizers.Adam,
    "fnn.losses.squared_error": fnn.losses.squared_error,
    "sum": sum,
    "test_values.top_level": top_level,
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name(name):
    assert public_name(PUBLIC[name]) == name
    box = Box(PUBLIC[name])
    assert pickle.loads(pickle.dumps(box)) == box
    assert pickle.loads(pickle.dumps(box)).content is PUBLIC[name]


def test_a_class_in_a_function_is_shown_by_its_name():
    class Local(fnn.Layer):
        size: int

    assert repr(Local(3)) == "Local(3)"
    with pytest.raises(TypeError, match=r"^Local has no argument 'sice' \(did you mean"):
        Local(sice=3)


def test_a_function_without_a_name_is_shown_as_it_is():
    assert public_name(lambda x: x).startswith("<function")
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(Box(lambda x: x))


@pytest.mark.parametrize(
    "content",
    [
        1,
        0.5,
        float("inf"),
        "text",
        None,
        (),
        (1,),
        (1, (2.0, "a")),
        [1, 2],
        {"a": 1, "b": (jnp.tanh, 2)},
        np.float32(0.1),
        jnp.array([1.5, 2.5]),
        jnp.arange(3),
        functools.partial(jnp.sum, axis=-1),
        functools.partial(functools.partial(jax.nn.elu, alpha=0.5)),
        (fnn.Dense(2), jax.nn.relu),
    ],
    ids=show,
)
def test_round_trips(content):
    box = Box(content)
    for other in (
        eval(repr(box), {"fnn": fnn, "jax": jax, "test_values": __import__("test_values")}),
        pickle.loads(pickle.dumps(box)),
        copy.deepcopy(box),
        Box(content),
    ):
        assert other == box
        assert hash(other) == hash(box)
    assert box != Box("another")
    assert box != Box(content, rate=0.2)


def test_equality_is_of_types_too():
    class Other(Value):
        content: object
        rate: float = 0.1

    assert Box(1) != Other(1)
    assert Box(1) != 1


def test_arrays_compare_by_content():
    assert Box(jnp.array([1.0])) == Box(np.array([1.0], np.float32))
    assert Box(jnp.array([1.0])) != Box(jnp.array([1]))
    assert Box(jnp.zeros((2, 1))) != Box(jnp.zeros((1, 2)))


def test_a_tracer_inside_a_value_is_no_key_but_works():
    def update(rate):
        with pytest.raises(TypeError, match="unhashable"):
            hash(fnn.optimizers.SGD(rate))
        sgd = fnn.optimizers.SGD(rate)
        return sgd.update({"w": jnp.ones(())}, sgd.init({"w": jnp.ones(())}))[0]["w"]

    np.testing.assert_array_equal(jax.vmap(update)(jnp.array([1.0, 2.0])), [-1.0, -2.0])


@pytest.mark.parametrize(
    "make",
    [fnn.initializers.Normal, fnn.initializers.Constant, lambda b: Box(1, rate=b)],
)
def test_a_tracer_inside_a_value_prints(make):
    """Whether it equals a default is not known; an error inside `jit` shows layers so."""

    def show_while_tracing(x):
        assert "Tracer" in repr(make(x))
        return x

    jax.make_jaxpr(show_while_tracing)(0.5)
    jax.vmap(show_while_tracing)(jnp.ones(2))


def test_show_of_nested_values():
    assert show((fnn.Dense(2), [1.0])) == "(fnn.Dense(2), [1.0])"


def test_a_value_of_another_process_is_the_same():
    """Hashes of strings differ between processes; what is pickled has none."""
    box = Box("text")
    hash(box)
    assert b"_hash" not in pickle.dumps(box)


SPELLED_OUT = """\
fnn.Sequential(
    fnn.Dense(8, kernel_init=fnn.initializers.VarianceScaling(2.0, 'in', 'normal')),
    jax.nn.relu,
    fnn.Dense(2),
)"""


def test_texts_of_equal_values_read_the_same():
    """A file from before ready-made values printed as their names is still known."""
    dense = fnn.Dense(8, kernel_init=fnn.initializers.he_normal)
    text = repr(fnn.Sequential(dense, jax.nn.relu, fnn.Dense(2)))
    assert text != SPELLED_OUT
    assert reads_the_same({"a": [SPELLED_OUT, 1]}, {"a": [text, 1]})
    assert eval(SPELLED_OUT) == eval(text)
    for other in (text.replace("he_normal", "he_uniform"), text.replace("8", "9"), 1, None):
        assert not reads_the_same(SPELLED_OUT, other)
    assert not reads_the_same(["he_normal"], [])


def test_replace_makes_a_checked_copy():
    layer = fnn.Dense(3)
    assert layer.replace(features=4, bias=False) == fnn.Dense(4, bias=False)
    assert layer == fnn.Dense(3)
    with pytest.raises(TypeError, match=r"fnn.Dense.* 'feature'.*features"):
        layer.replace(feature=4)
    with pytest.raises(ValueError, match="momentum must be in"):
        fnn.optimizers.Momentum(0.1).replace(momentum=2.0)
    sgd, adam = fnn.optimizers.SGD(0.1), fnn.optimizers.Adam(0.1)
    assert fnn.optimizers.Chain(sgd).replace(transforms=(adam,)) == fnn.optimizers.Chain(
        adam
    )
    by_path = fnn.optimizers.ByPath({"*": sgd})
    assert by_path.replace(rules={"*": adam}) == fnn.optimizers.ByPath({"*": adam})


def test_a_part_is_replaced_at_any_depth():
    chain = fnn.optimizers.Chain(
        fnn.optimizers.ClipByNorm(1.0),
        fnn.optimizers.ByPath({"*": fnn.optimizers.Muon(0.1)}),
    )
    rate = ("transforms", "1", "rules", "0", "1", "learning_rate")
    others = (*rate[:-1], "others", "learning_rate")
    assert paths_to(chain, "learning_rate") == [rate, others]
    expected = fnn.optimizers.Muon(0.1, others=fnn.optimizers.Adam(0.5))
    assert replace_at(chain, others, 0.5).transforms[1].rules == (("*", expected),)
    with pytest.raises(ValueError, match=r"needs a number below 2 in place of '2'"):
        replace_at(chain, ("transforms", "2"), 0.5)


def test_the_order_of_a_dict_does_not_count():
    one, other = Box({"a": [1], "b": {"c": 2}}), Box({"b": {"c": 2}, "a": [1]})
    assert (one, hash(one)) == (other, hash(other))
    assert one != Box({"a": [1], "b": {"c": 3}})
    assert one != Box({"a": [1]})
    rules = [("*kernel", ("x",)), ("*bias", ())]
    one, other = (fnn.sharding.ByPath(dict(r)) for r in (rules, rules[::-1]))
    assert (one, hash(one)) == (other, hash(other))
    adam, frozen = fnn.optimizers.Adam(0.1), fnn.optimizers.Frozen()
    # There the first glob that matches wins.
    assert fnn.optimizers.ByPath({"a": adam, "*": frozen}) != fnn.optimizers.ByPath(
        {"*": frozen, "a": adam}
    )


def test_a_pickle_names_the_public_class():
    """So it loads also where a later version has the class in another module."""
    for value in (fnn.Dense(3), fnn.optimizers.Adam(0.1), fnn.Sequential(jnp.tanh)):
        data = pickle.dumps(value)
        assert type(value).__module__.encode() not in data
        assert pickle.loads(data) == value
