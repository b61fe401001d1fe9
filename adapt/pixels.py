"""Pictures as their users hold them: turned by a tag, deeper than 8 bits, of many bands, DICOM. Made plain RGB at the border.

A task that takes them puts OPTIONS among its own; `adapt convert` then writes every picture to the folder of made pictures
before the task's ``convert`` sees its name there. Pictures that need no change keep their pixels bit for bit, without their
metadata; changed ones become PNG. Nothing of a DICOM file but its pixels is written.

The stretch is for each picture and band on its own: the two percentiles become black and white, what lies beyond is cut.
NaN, infinity and the file's own value for "no data" (GDAL_NODATA, PixelPaddingValue) do not count and are written black.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adapt import made, safe
from adapt.bands import Bands, Window, read_bands
from adapt.domain import Option
from adapt.errors import DataError, UsageError
from adapt.orientation import UPRIGHT, upright, upright_size

WINDOW, FULL = "window", "full"
OPTIONS = (
    Option(
        "upright",
        "write pictures with an orientation tag as upright copies: yes moves their boxes along, labelled does not (the boxes "
        "were drawn on the upright picture)",
        "no",
        ("no", "yes", "labelled"),
    ),
    Option("stretch", "above 8 bits: percentiles that become black and white (2,98), 'full' range, or DICOM's own 'window'"),
    Option("bands", "the bands to show as red, green, blue, counted from 1 (4,3,2), or one as grey"),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is done to pictures. ``stretch`` is two percentiles, WINDOW, FULL or None; ``bands`` are counted from 0.

    ``moves`` says whether coordinates turn with the pictures, or are those of the upright ones already.
    """

    upright: bool = False
    moves: bool = True
    stretch: tuple[float, float] | str | None = None
    bands: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """A picture as records show it: its name, its size, its file's orientation tag, and by which tag its pixels were turned."""

    name: str
    size: tuple[int, int]
    orientation: int = UPRIGHT
    turned: int = UPRIGHT

    @property
    def stored_size(self) -> tuple[int, int]:
        """(width, height) before it was turned."""
        return upright_size(self.size, self.turned)


def read_settings(options: Mapping[str, str]) -> Settings | None:
    """The settings that a task's options ask for; None where pictures stay as and where they are."""
    settings = Settings(
        options.get("upright", "no") != "no",
        options.get("upright") != "labelled",
        _read_stretch(options["stretch"]) if "stretch" in options else None,
        _read_bands(options["bands"]) if "bands" in options else (),
    )
    return None if settings == Settings() else settings


def _read_stretch(text: str) -> tuple[float, float] | str:
    if text in (WINDOW, FULL):
        return text
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not 0 <= low < high <= 100:
        raise UsageError(f"stretch={text}: expected two percentiles such as 2,98, or {FULL}, or {WINDOW}")
    return low, high


def _read_bands(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (1, 3) or not all(part.isascii() and part.isdecimal() and 0 < int(part) < 10_000 for part in parts):
        raise UsageError(f"bands={text}: expected three numbers counted from 1, such as 4,3,2, or one for grey")
    return tuple(int(part) - 1 for part in parts)


def picture_root(root: Path, options: Mapping[str, str], folder: Path | None) -> Path:
    """Where the pictures of samples lie when a task's ``convert`` sees them: ``root``, or ``folder``, the made pictures'."""
    if read_settings(options) is None:
        return root
    assert folder is not None, "made pictures need a folder"
    return folder


def hold(content: bytes, name: str, settings: Settings | None, folder: Path | None) -> Held:
    """Decode the bytes of the picture ``name`` whole, and write what ``settings`` make of it to ``folder``.

    Raises DataError(``name``: ...) for damage and for a picture that the settings do not fit.
    """
    if settings is None:
        picture, tag = safe.decode_stored(content, name)
        return Held(name, picture.size, tag)
    assert folder is not None, "made pictures need a folder"
    picture, tag, is_changed = _decode(content, name, settings)
    turned = tag if settings.upright else UPRIGHT
    if is_changed or turned != UPRIGHT:
        picture = upright(picture, turned)
        return Held(made.write_picture(folder, picture), picture.size, tag, turned)
    return Held(made.write_encoded(folder, content, name), picture.size, tag)


def _decode(content: bytes, name: str, settings: Settings) -> tuple[Image.Image, int, bool]:
    """RGB in stored order, the orientation tag, and whether the pixels are others than the file's."""
    is_deep = safe.is_deep(content, name)
    if not is_deep and not settings.bands:
        return *safe.decode_stored(content, name), False
    if settings.stretch is None and not settings.bands:
        safe.decode_picture(content, name)  # says what to choose
    bands = read_bands(content, name)
    return Image.fromarray(to_rgb(bands, settings, name)), bands.orientation, True


def to_rgb(bands: Bands, settings: Settings, where: str) -> np.ndarray:
    """uint8[H, W, 3]: the chosen bands of a picture, stretched where they are not 8-bit colours already."""
    values_HWC = bands.values_HWC[:, :, _choose_bands(bands.values_HWC.shape[2], settings.bands, where)]
    if not bands.is_final:
        if settings.stretch is None:
            raise DataError(f"{where}: more than 8 bits a channel ({values_HWC.dtype}); {safe.CHOOSE_STRETCH}")
        values_HWC = np.stack(
            [_stretch(values_HWC[:, :, place], bands, settings.stretch, where) for place in range(values_HWC.shape[2])], 2
        )
    if bands.dark_is_high:
        values_HWC = 255 - values_HWC
    return np.ascontiguousarray(np.broadcast_to(values_HWC, (*values_HWC.shape[:2], 3)))


def _choose_bands(available: int, wanted: tuple[int, ...], where: str) -> list[int]:
    if wanted:
        if max(wanted) >= available:
            raise DataError(f"{where}: {available} bands; --option bands asks for number {max(wanted) + 1}")
        return list(wanted)
    if available not in (1, 3):
        raise DataError(f"{where}: {available} bands; choose three of them with --option bands=3,2,1, counted from 1")
    return list(range(available))


def _stretch(values_HW: np.ndarray, bands: Bands, how: tuple[float, float] | str, where: str) -> np.ndarray:
    """One band as uint8[H, W]."""
    is_value = np.isfinite(values_HW)
    if bands.missing is not None:
        is_value &= values_HW != bands.missing
    if how == WINDOW:
        if bands.window is None:
            raise DataError(f"{where}: gives no window of its own; choose percentiles instead: --option stretch=2,98")
        shares = windowed(values_HW, bands.window, where)
    else:
        low, high = _range(values_HW, is_value, how, where)
        # A band of one value has no range: it is black, what lies above the upper percentile white.
        shares = (values_HW.astype(np.float64) - low) / (high - low) if high > low else (values_HW > high).astype(np.float64)
    shares = np.clip(np.where(is_value, shares, 0.0), 0.0, 1.0)
    missing_shade = 255 if bands.dark_is_high else 0  # black once it is inverted
    return np.where(is_value, np.rint(shares * 255), missing_shade).astype(np.uint8)


def _range(values_HW: np.ndarray, is_value: np.ndarray, how: Any, where: str) -> tuple[float, float]:
    if how == FULL:
        if values_HW.dtype.kind not in "ui":
            raise DataError(f"{where}: numbers of type {values_HW.dtype} have no full range; --option stretch=2,98")
        limits = np.iinfo(values_HW.dtype)
        return float(limits.min), float(limits.max)
    if not is_value.any():
        return 0.0, 0.0
    low, high = np.percentile(values_HW[is_value].astype(np.float64), how)
    return float(low), float(high)


def windowed(values_HW: np.ndarray, window: Window, where: str) -> np.ndarray:
    """float64[H, W]: shares of white under a DICOM window (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    values, center, width = values_HW.astype(np.float64), window.center, window.width
    if window.function == "LINEAR" and width >= 1:
        if width == 1:
            return (values > center - 0.5).astype(np.float64)
        return (values - (center - 0.5)) / (width - 1) + 0.5
    if window.function == "LINEAR_EXACT" and width > 0:
        return (values - center) / width + 0.5
    if window.function == "SIGMOID" and width > 0:
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    raise DataError(f"{where}: its window ({window.function}, width {width:g}) is none that DICOM knows; --option stretch=2,98")


def show_held(sample: Any, pictures: Sequence[Held], settings: Settings | None) -> Any:
    """The sample with its pictures as they are held: names, sizes and tag where it has fields for them, moved objects.

    A sample whose coordinates turn with its pictures has a method ``upright(orientations)``, called with stored ``sizes``.
    """
    if not pictures:
        return sample
    names = tuple(picture.name for picture in pictures)
    if names != sample.pictures:
        sample = dataclasses.replace(sample, pictures=names)
    if not hasattr(sample, "sizes"):
        return sample
    moves = settings is not None and settings.moves and any(picture.turned != UPRIGHT for picture in pictures)
    if moves and hasattr(sample, "upright"):
        sample = dataclasses.replace(sample, sizes=tuple(picture.stored_size for picture in pictures))
        sample = sample.upright(tuple(picture.turned for picture in pictures))
    if hasattr(sample, "orientation") and pictures[0].orientation != UPRIGHT:  # a copy has none, and its sample may know it
        sample = dataclasses.replace(sample, orientation=pictures[0].orientation)
    return dataclasses.replace(sample, sizes=tuple(picture.size for picture in pictures))
