"""Checkpoints: trees of arrays in verified files, each written whole or not at all."""

from fnn.checkpoint.errors import CorruptedError as CorruptedError
from fnn.checkpoint.files import load as load
from fnn.checkpoint.files import metadata as metadata
from fnn.checkpoint.files import save as save
from fnn.checkpoint.series import Checkpointer as Checkpointer
from fnn.checkpoint.series import Restored as Restored
from fnn.checkpoint.sharded import OrbaxCheckpointer as OrbaxCheckpointer
from fnn.lazy import explain_missing as _explain_missing

_explain_missing(__name__)
