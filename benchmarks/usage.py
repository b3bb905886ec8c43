"""What memory a process has taken."""

import resource
import sys


def peak(who: int = resource.RUSAGE_SELF) -> float:
    """Return the most memory, in MiB, that this process or a child has had at once."""
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(who).ru_maxrss / scale
