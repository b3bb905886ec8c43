"""Sharding: meshes of devices, and the placement of parameters and batches on them.

The engine is JAX's own: arrays have a `jax.NamedSharding`, and the compiler inserts the
communication. A step that is right on one device is right on many.
"""

from fnn.lazy import explain_missing as _explain_missing
from fnn.sharding.layout import Layout as Layout
from fnn.sharding.meshes import make_mesh as make_mesh
from fnn.sharding.processes import start_processes as start_processes
from fnn.sharding.strategies import ByPath as ByPath
from fnn.sharding.strategies import FullySharded as FullySharded
from fnn.sharding.strategies import Replicated as Replicated
from fnn.sharding.strategies import Strategy as Strategy

_explain_missing(__name__)
