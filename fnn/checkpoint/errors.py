"""The error for a file that differs from what was written."""


class CorruptedError(ValueError):
    """A checkpoint is truncated, damaged, or not a file in the safetensors format.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "weights.safetensors")
        ...     fnn.checkpoint.save(path, {"w": jax.numpy.ones(3)})
        ...     size = path.write_bytes(path.read_bytes()[:-1])
        ...     try:
        ...         fnn.checkpoint.load(path)
        ...     except fnn.checkpoint.CorruptedError as error:
        ...         print(str(error).replace(folder, "FOLDER"))
        FOLDER/weights.safetensors is corrupted: its arrays take 12 bytes, but 11 follow
        the header
    """
