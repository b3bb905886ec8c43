"""One tree in one file: what is written is what comes back, and what others read."""

import json
import os
import resource
import struct
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import checkpoint


class Pair(NamedTuple):
    first: object
    second: object


DTYPES = [
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "float8_e8m0fnu"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
]


def bits(array):
    typed = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(array) if typed else array).tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


def tree():
    return {
        "params": {"dense.0": [jnp.arange(6.0).reshape(2, 3), jnp.ones(3, "bfloat16")]},
        "state": Pair(np.arange(4)[::2], {}),
        "none": None,
        "empty": jnp.zeros((0, 3)),
        "key": jax.random.key(7),
        "keys": jax.random.split(jax.random.key(1, impl="rbg"), 2),
        "step": jnp.int32(5),
        "flag": np.bool_(True),
    }


def test_a_tree_comes_back_bit_for_bit(path):
    values = tree()
    checkpoint.save(path, values)
    restored = checkpoint.load(path, values)
    assert jax.tree.structure(restored) == jax.tree.structure(values)
    for before, after in zip(*map(jax.tree.leaves, (values, restored)), strict=True):
        assert before.dtype == after.dtype
        assert before.shape == after.shape
        assert isinstance(after, jax.Array) == isinstance(before, jax.Array)
        if jnp.issubdtype(before.dtype, jax.dtypes.prng_key):
            assert str(jax.random.key_impl(after)) == str(jax.random.key_impl(before))
        assert bits(before) == bits(after)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_comes_back_bit_for_bit(dtype, path):
    content = np.arange(48, dtype=np.uint8) & (1 if dtype == "bool" else 255)
    values = content.view(dtype).reshape(2, -1)
    checkpoint.save(path, {"x": values})
    for template in (None, {"x": values}):
        restored = checkpoint.load(path, template)
        assert restored["x"].dtype == values.dtype
        assert restored["x"].shape == values.shape
        assert bits(restored["x"]) == bits(values)


def test_the_safetensors_package_reads_it(path):
    package = pytest.importorskip("safetensors")
    values = {
        "a": {"b": np.arange(6.0).reshape(2, 3).T},
        "c": np.int8(3),
        "d": np.ones(3, bool),
    }
    checkpoint.save(path, values, metadata={"epoch": 3, "model": "fnn.Dense(2)"})
    with package.safe_open(path, "np") as file:
        assert set(file.keys()) == {"a/b", "c", "d"}
        np.testing.assert_array_equal(file.get_tensor("a/b"), values["a"]["b"])
        np.testing.assert_array_equal(file.get_tensor("c"), values["c"])
        np.testing.assert_array_equal(file.get_tensor("d"), values["d"])
        assert json.loads(file.metadata()["epoch"]) == 3
        assert json.loads(file.metadata()["model"]) == "fnn.Dense(2)"


def test_it_reads_what_the_safetensors_package_writes(path):
    package = pytest.importorskip("safetensors.numpy")
    values = {"a/b": np.arange(6.0).reshape(2, 3), "a/c": np.array(2, np.float16)}
    package.save_file(values, path, metadata={"format": "np"})
    with pytest.raises(checkpoint.CorruptedError, match="pass verify=False"):
        checkpoint.load(path)
    restored = checkpoint.load(path, verify=False)
    chex.assert_trees_all_equal(restored, {"a": {"b": values["a/b"], "c": values["a/c"]}})
    assert checkpoint.metadata(path, verify=False) == {"format": "np"}


def test_the_format_byte_for_byte(path):
    """Read as the format's own page says, with no library."""
    checkpoint.save(path, {"b": np.array([True]), "w": jnp.array([[1, 2]], "bfloat16")})
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert length % 8 == 0
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    metadata = header.pop("__metadata__")
    assert all(isinstance(text, str) for text in metadata.values())
    assert header == {
        "w": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]},
        "b": {"dtype": "BOOL", "shape": [1], "data_offsets": [4, 5]},
    }
    assert data == bytes([0x80, 0x3F, 0x00, 0x40, 0x01])


def test_order_and_byte_order_of_memory_do_not_matter(path):
    values = np.arange(6.0).reshape(2, 3)
    variants = {"f": np.asfortranarray(values), "t": values.T, "big": values.astype(">f8")}
    checkpoint.save(path, variants | {"strided": values[:, ::2]})
    restored = checkpoint.load(path)
    np.testing.assert_array_equal(restored["f"], values)
    np.testing.assert_array_equal(restored["t"], values.T)
    np.testing.assert_array_equal(restored["big"], values)
    np.testing.assert_array_equal(restored["strided"], [[0, 2], [3, 5]])


def test_metadata_is_what_json_can_express(path):
    metadata = {"history": [0.1, float("inf")], "model": "β\n", "empty": {}, "none": None}
    checkpoint.save(path, {}, metadata=metadata)
    assert checkpoint.metadata(path) == metadata
    assert checkpoint.load(path, {}) == {}
    with pytest.raises(TypeError, match=r"'loss' in the metadata must be .* float32\[2\]"):
        checkpoint.save(path, {}, metadata={"loss": np.ones(2, np.float32)})
    with pytest.raises(ValueError, match=r"does not begin with 'fnn\.'"):
        checkpoint.save(path, {}, metadata={"fnn.data_sha256": 1})
    assert checkpoint.metadata(path) == metadata


def test_without_a_template_come_nested_dicts(path):
    values = {"a/b": np.ones(1), "layers": [np.zeros(2), {"x": np.ones(())}]}
    checkpoint.save(path, values)
    expected = {
        "a": {"b": np.ones(1)},
        "layers": {"0": np.zeros(2), "1": {"x": np.ones(())}},
    }
    chex.assert_trees_all_equal(checkpoint.load(path), expected)
    assert checkpoint.load(path)["a"]["b"].flags.writeable


def test_names_that_no_nested_dict_can_have_need_a_template(path):
    values = {"a": np.ones(1), "a/b": np.zeros(2)}
    checkpoint.save(path, values)
    chex.assert_trees_all_equal(checkpoint.load(path, values), values)
    with pytest.raises(ValueError, match="'a' and 'a/b' don't go together"):
        checkpoint.load(path)


def test_specs_serve_as_a_template(path):
    values = {"w": jnp.arange(3.0), "key": jax.random.key(3)}
    checkpoint.save(path, values)
    restored = checkpoint.load(path, jax.eval_shape(lambda: values))
    assert isinstance(restored["w"], jax.Array)
    assert not restored["w"].committed
    np.testing.assert_array_equal(restored["w"], [0, 1, 2])
    assert jax.random.key_data(restored["key"]).tolist() == [0, 3]


def test_what_does_not_fit_is_listed_by_path(path):
    checkpoint.save(
        path, {"a": {"w": np.ones(3)}, "b": np.ones(2), "key": jax.random.key(0)}
    )
    template = {
        "a": {"w": np.ones((3, 1)), "v": np.zeros(1, np.int8)},
        "key": jax.random.key(0, impl="rbg"),
    }
    with pytest.raises(ValueError, match="does not fit the template") as caught:
        checkpoint.load(path, template)
    assert str(caught.value).splitlines() == [
        f"{path} does not fit the template:",
        "  'a/v' is missing",
        "  'a/w' is float64[3] in the file, but float64[3,1] in the template",
        "  'key' is key<fry>[] in the file, but key<rbg>[] in the template",
        "  'b' is not in the template",
    ]


def test_a_dtype_is_never_converted(path):
    checkpoint.save(path, {"w": np.ones(2)})
    with pytest.raises(ValueError, match=r"float64\[2\] in the file, but float32\[2\]"):
        checkpoint.load(path, {"w": jnp.ones(2)})
    with pytest.raises(ValueError, match=r"'w' in the template is float64.*jax_enable_x64"):
        checkpoint.load(path, {"w": jax.ShapeDtypeStruct((2,), "float64")})


def test_wide_arrays_come_back_where_jax_has_them(path, x64):
    checkpoint.save(path, {"w": jnp.ones(2, "float64")})
    restored = checkpoint.load(path, {"w": jax.ShapeDtypeStruct((2,), "float64")})
    assert restored["w"].dtype == jnp.float64


def test_a_part_is_restored_by_path(path):
    checkpoint.save(
        path, {"body": {"w": jnp.ones(2)}, "old": jnp.ones(5), "neck": jnp.ones(3)}
    )
    new = {"body": {"w": jnp.zeros(2)}, "head": jnp.zeros(4), "neck": jnp.zeros(3)}
    restored = checkpoint.load(path, new, partial=("body/*", "neck"))
    chex.assert_trees_all_equal(
        restored, {"body": {"w": jnp.ones(2)}, "head": jnp.zeros(4), "neck": jnp.ones(3)}
    )
    with pytest.raises(ValueError, match="'head' is missing"):
        checkpoint.load(path, new, partial=("body/*", "head"))
    with pytest.raises(ValueError, match="no leaf matches 'tail'"):
        checkpoint.load(path, new, partial="tail")
    with pytest.raises(ValueError, match="needs a template"):
        checkpoint.load(path, partial="body/*")


def test_another_model_is_named(path):
    checkpoint.save(path, {}, metadata={"model": "fnn.Dense(2)", "optimizer": "sgd"})
    expected = {"optimizer": "sgd", "model": "fnn.Dense(3)"}
    with pytest.raises(
        ValueError, match=r"another 'model':\nfnn.Dense\(2\)\nexp.*\n.*\(3\)"
    ):
        checkpoint.load(path, {}, expected=expected)
    with pytest.raises(ValueError, match="says nothing of 'seed'"):
        checkpoint.load(path, {}, expected={"seed": 1})
    assert checkpoint.load(path, {}, expected={"optimizer": "sgd"}) == {}


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"a": {"rate": 0.1}}, TypeError, "'a/rate' must be an array, got float 0.1"),
        ({"n": np.zeros(2, "int4")}, TypeError, r"'n' is int4\[2\].*has no dtypes but"),
        ({"n": np.array("text")}, TypeError, "has no dtypes but"),
        (
            {"a/b": np.ones(1), "a": {"b": np.ones(1)}},
            ValueError,
            "2 leaves have the path 'a/b'",
        ),
        ({"__metadata__": np.ones(1)}, ValueError, "the format reserves it"),
    ],
)
def test_what_cannot_be_saved_is_named_and_harms_nothing(values, error, message, path):
    checkpoint.save(path, {"w": np.ones(1)})
    with pytest.raises(error, match=message):
        checkpoint.save(path, values)
    np.testing.assert_array_equal(checkpoint.load(path)["w"], [1])


def test_traced_values_cannot_be_saved(path):
    with pytest.raises(TypeError, match=r"'w' has no value yet: save outside of jax\.jit"):
        jax.jit(lambda w: checkpoint.save(path, {"w": w}))(jnp.ones(2))
    assert not path.exists()


def test_a_train_state_comes_back(path):
    model, adam = fnn.Sequential(fnn.Dense(3), fnn.BatchNorm()), fnn.optimizers.Adam(0.1)
    params, state = model.init(jax.random.key(0), jnp.ones(2))
    before = fnn.TrainState.create(params, state, adam, key=jax.random.key(1))
    checkpoint.save(path, before)
    after = checkpoint.load(path, jax.eval_shape(lambda: before))
    chex.assert_trees_all_equal(before, after)
    assert jax.random.normal(after.key) == jax.random.normal(jax.random.key(1))


def test_restored_arrays_can_be_donated(path):
    values = {"w": jnp.arange(1 << 16, dtype=jnp.float32)}
    checkpoint.save(path, values)
    restored = checkpoint.load(path, values)
    again = checkpoint.load(path)["w"]
    step = jax.jit(lambda w: w + 1, donate_argnums=0)
    updated = step(restored["w"])
    assert restored["w"].is_deleted()
    np.testing.assert_array_equal(updated, np.arange(1 << 16) + 1)
    np.testing.assert_array_equal(again, np.arange(1 << 16))


def leftovers(folder):
    return sorted(p.name for p in folder.iterdir() if p.name.endswith(".tmp"))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        checkpoint.save(tmp_path / "nowhere" / "file", {})


def test_a_full_disk_harms_nothing(path):
    checkpoint.save(path, {"w": np.ones(1)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            checkpoint.save(path, {"w": np.ones(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "an existing file is unchanged" in caught.value.__notes__[0]
    np.testing.assert_array_equal(checkpoint.load(path)["w"], [1])
    assert not leftovers(path.parent)


def test_leftovers_of_the_killed_are_removed_and_no_others(path):
    fcntl = pytest.importorskip("fcntl")
    dead = path.with_name(f".{path.name}.0123456789abcdef.tmp")
    alive = path.with_name(f".{path.name}.fedcba9876543210.tmp")
    other = path.with_name(".other.safetensors.0123456789abcdef.tmp")
    for file in (dead, alive, other):
        file.write_bytes(b"half")
    with alive.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        checkpoint.save(path, {"w": np.ones(1)})
        assert leftovers(path.parent) == sorted([alive.name, other.name])


def test_the_file_has_the_usual_permissions(path):
    checkpoint.save(path, {})
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_repeat_stacked_under_its_old_name_still_loads(tmp_path):
    """Parameters, the state of an optimizer, and keys, in nested stacks too."""
    inner = {"kernel": np.arange(24.0).reshape(3, 2, 2, 2), "key": jax.random.key(3)}
    path = tmp_path / "old.safetensors"
    old = {"repeat_0": {"layer": {"layer": inner}}, "dense_0": np.ones(2)}
    fnn.checkpoint.save(path, {"params": old, "opt_state": (old,)})
    template = {"repeat_0": {"stack": {"stack": inner}}, "dense_0": np.ones(2)}
    template = {"params": template, "opt_state": (template,)}
    chex.assert_trees_all_equal(fnn.checkpoint.load(path, template), template)
    part = fnn.checkpoint.load(path, template, partial="params/repeat_0/*")
    chex.assert_trees_all_equal(part, template)
    other = {"repeat_0": {"stack": {"stack": {"bias": np.ones(1)}}}}
    with pytest.raises(ValueError, match="'repeat_0/stack/stack/bias' is missing"):
        fnn.checkpoint.load(path, other)
