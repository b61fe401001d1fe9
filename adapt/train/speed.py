"""How fast a run is: against the device's own matrix throughput, and in the words of the terminal."""

import resource
import time
from typing import Any

import torch


def measured_peak(device: torch.device, dtype: torch.dtype, seconds: float = 0.2) -> float:
    """Floating point operations a second of a large matrix product in that type, measured now."""
    size = 1024 if device.type == "cpu" else 8192
    square = torch.ones(size, size, dtype=dtype, device=device)
    fastest = float("inf")
    began = time.perf_counter()
    for _ in range(3):  # the first warms up
        fastest = min(fastest, _product_seconds(square))
    while time.perf_counter() - began < seconds:
        fastest = min(fastest, _product_seconds(square))
    return 2 * size**3 / fastest


def _product_seconds(square: torch.Tensor) -> float:
    start = time.perf_counter()
    (square @ square)[0, 0].item()  # waits for the device
    return time.perf_counter() - start


def peak_bytes(device: torch.device) -> int:
    """The most memory so far: allocated on a GPU, resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Speed:
    """Rates since the start of this process, from the rows of the log."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._sums = {"samples": 0, "tiles": 0, "tokens": 0, "seconds": 0.0, "wait_seconds": 0.0}

    def text(self, row: dict[str, Any]) -> str:
        """What stands beside a step on the terminal, its row counted."""
        for name in self._sums:
            self._sums[name] += row[name]
        passed = time.monotonic() - self._began
        by_source = [f"{name.removeprefix('loss/')} {value:.4f}" for name, value in row.items() if name.startswith("loss/")]
        rates = [f"{self._sums[name] / passed:,.0f} {name}/s" for name in ("samples", "tiles", "tokens")]
        waited = self._sums["wait_seconds"] / max(self._sums["seconds"], 1e-9)
        shown = [
            f"loss {row['loss']:.4f}" + (f" ({', '.join(by_source)})" if len(by_source) > 1 else ""),
            *rates,
            f"MFU {row['mfu']:.0%}",
            f"data wait {waited:.0%}",
            f"{row['peak_bytes'] / 2**30:.1f} GiB",
        ]
        return "  ".join(shown)
