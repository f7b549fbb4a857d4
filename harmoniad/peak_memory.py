"""How much memory this process has had."""

from pathlib import Path
from typing import Any


def peak_memory() -> int:
    """Bytes of memory that this process has had at most, without what its parent had before it was started."""
    status = Path("/proc/self/status")
    if status.is_file():
        return status_bytes("VmHWM")
    import psutil

    memory: Any = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):
        return int(memory.peak_wset)
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # macOS counts it in bytes


def status_bytes(key: str) -> int:
    """A figure of Linux' `/proc/self/status`, such as VmHWM (peak resident) or RssAnon (resident, not from a file)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0
