"""GPUs by name: what their makers publish of speed and memory.

Peaks are dense bfloat16 matrix products with float32 sums, without sparsity: NVIDIA's data sheets of H100, H200, A100, A10,
A40, L4, L40S, RTX A6000 and RTX 6000 Ada (half of the figure with sparsity where only that is given), its HGX page for B200,
its architecture papers of GA102 (RTX 3090), Ada (RTX 4080, 4090) and RTX Blackwell (RTX 5090); AMD's data sheet of MI300X.
"""

import dataclasses

from adapt.errors import unknown

# What a run keeps up of the peak: our assumption for packs that fill the device; a small model or slow pictures give less.
UTILISATION = 0.35


@dataclasses.dataclass(frozen=True)
class Gpu:
    """``teraflops`` (10^12 operations) a second at most; ``gib`` of memory."""

    name: str
    teraflops: float
    gib: float

    @property
    def usable_bytes(self) -> int:
        """What a program finds free: the driver and its own context keep some."""
        return int(0.98 * self.gib * 2**30)

    def hours(self, teraflops: float) -> float:
        """Hours for so many operations (in units of 10^12) at UTILISATION."""
        return teraflops / (self.teraflops * UTILISATION) / 3600


GPUS = (
    Gpu("B200", 2250, 180),
    Gpu("H200", 989, 141),
    Gpu("H100", 989, 80),
    Gpu("H100-PCIe", 756, 80),
    Gpu("A100", 312, 80),
    Gpu("A100-40GB", 312, 40),
    Gpu("A40", 149.7, 48),
    Gpu("A10", 125, 24),
    Gpu("L40S", 362, 48),
    Gpu("L4", 121, 24),
    Gpu("RTX6000Ada", 364, 48),
    Gpu("RTXA6000", 154.8, 48),
    Gpu("RTX5090", 209.5, 32),
    Gpu("RTX4090", 165.2, 24),
    Gpu("RTX4080", 97.5, 16),
    Gpu("RTX3090", 71, 24),
    Gpu("MI300X", 1307, 192),
)


def find_gpu(name: str) -> Gpu:
    """The GPU of that name, however it is spelled (rtx 4090, RTX-4090). Raises UsageError with the nearest one."""
    plain = _plain(name)
    for gpu in GPUS:
        if plain in (
            _plain(gpu.name),
            _plain(f"nvidia {gpu.name}"),
            _plain(gpu.name.removeprefix("RTX")) if "RTX" in gpu.name else "",
        ):
            return gpu
    raise unknown("GPU", name.upper(), (gpu.name for gpu in GPUS))


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
