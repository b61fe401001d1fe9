"""adapt: take a small vision-language model into a professional field without losing what it knew."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from adapt.evaluate.answer import load as load
    from adapt.evaluate.sampling import Sampling as Sampling
    from adapt.records import read_records as read_records
    from adapt.records import write_records as write_records

_PLACES = {
    "Sampling": "adapt.evaluate.sampling",
    "load": "adapt.evaluate.answer",
    "read_records": "adapt.records",
    "write_records": "adapt.records",
}
__all__ = ["Sampling", "__version__", "load", "read_records", "write_records"]


def __getattr__(name: str) -> Any:
    """Import the public functions on first use, so that ``import adapt`` stays light."""
    if name not in _PLACES:
        raise AttributeError(f"module 'adapt' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_PLACES[name]), name)
