"""Numbers of pictures that are more than 8-bit colours: deep PNG and TIFF, many bands, DICOM.

The second half of the door that ``adapt/safe`` is: bytes from outside are read here under the same rules, sizes looked at
before anything is decoded, one DataError with its place for whatever is wrong. tifffile, imagecodecs and pydicom are extras.
"""

import collections.abc
import dataclasses
import io
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from adapt import safe
from adapt.errors import DataError, UsageError
from adapt.orientation import UPRIGHT

MAX_BANDS_BYTES = 2**30  # of decoded numbers
_MOST_PACKED = 2000  # decoded bytes a byte of the file; deflate reaches 1032
_GDAL_NO_DATA = 42113  # gdal.org/drivers/raster/gtiff.html
_DEFLATED = b"1.2.840.10008.1.2.1.99"  # DICOM PS3.5, annex A.5: inflating has no bound
_DICOM_KINDS = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


@dataclasses.dataclass(frozen=True)
class Window:
    """A range of values that a DICOM file asks to be shown (PS3.3, C.11.2.1.2), as ``function`` says."""

    center: float
    width: float
    function: str


@dataclasses.dataclass(frozen=True)
class Bands:
    """The numbers of a picture, in stored order, before they are made 8 bits.

    values_HWC: any numeric type. ``missing`` is the number that means no value (beside NaN); ``dark_is_high`` whether high
    values are to be shown dark; ``is_final`` whether they are colours of 8 bits already.
    """

    values_HWC: np.ndarray
    orientation: int = UPRIGHT
    missing: float | None = None
    window: Window | None = None
    dark_is_high: bool = False
    is_final: bool = False


def read_bands(content: bytes, where: str) -> Bands:
    """The numbers of a picture of any depth and number of bands: DICOM, TIFF, and what ``safe.decode_picture`` reads.

    Raises DataError for damage and size, UsageError where the package that reads the format is not installed.
    """
    if len(content) > safe.MAX_PICTURE_BYTES:
        raise DataError(f"{where}: {len(content):,} bytes, more than the {safe.MAX_PICTURE_BYTES:,} allowed for a picture")
    if safe.is_dicom(content):
        return _read_dicom(content, where)
    if content.startswith(safe.TIFF_SIGNATURES):
        return _read_tiff(content, where)
    is_deep, mode = safe.is_deep(content, where), safe.mode_of(content, where)
    if is_deep and mode not in safe.DEEP_MODES:  # a PNG: only there Pillow cuts colours
        return Bands(_channels_last(_deep_png(content, where)), safe.orientation_of(content, where))
    picture, tag = safe.decode_native(content, where)
    return Bands(_channels_last(np.asarray(picture)), tag, is_final=not is_deep)


def _channels_last(values: np.ndarray) -> np.ndarray:
    return values[:, :, None] if values.ndim == 2 else values


def _deep_png(content: bytes, where: str) -> np.ndarray:
    """A PNG of 16-bit colours, which Pillow would cut to 8."""
    try:
        import imagecodecs
    except ImportError as error:
        raise UsageError(f"{where}: 16-bit colours need imagecodecs; run: pip install 'adapt-vlm[tiff]'") from error
    try:
        return np.asarray(imagecodecs.png_decode(content))
    except (*safe.DAMAGE, RuntimeError) as error:
        raise DataError(f"{where}: damaged picture ({len(content):,} bytes): {error}") from error


def _read_tiff(content: bytes, where: str) -> Bands:
    """The first page of a TIFF file, of any number of bands and type of numbers."""
    try:
        import tifffile
    except ImportError as error:
        raise UsageError(f"{where}: bands of a TIFF need tifffile; run: pip install 'adapt-vlm[tiff]'") from error
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page: Any = file.pages[0]
            _check_bands(page.shape, page.dtype, len(content), where)
            if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
                raise DataError(
                    f"{where}: a TIFF of palette colours, its numbers are no bands; store it as RGB or leave out --option bands"
                )
            if page.axes not in ("YX", "YXS", "SYX"):
                raise DataError(f"{where}: its first page has the axes {page.axes}, expected rows, columns and bands")
            values = page.asarray(maxworkers=1)
            values = np.moveaxis(values, 0, -1) if page.axes == "SYX" else _channels_last(values)
            tag, missing = page.tags.valueof(safe.ORIENTATION_TAG, 1), page.tags.valueof(_GDAL_NO_DATA)
            is_turned = isinstance(tag, int) and 1 <= tag <= 8
            is_final = values.dtype == np.uint8
            dark_is_high = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    except DataError:
        raise
    except (*safe.DAMAGE, RuntimeError, AttributeError, AssertionError) as error:
        raise DataError(f"{where}: damaged TIFF ({len(content):,} bytes): {error}") from error
    return Bands(values, int(tag) if is_turned else 1, _number(missing), None, dark_is_high, is_final)


def _number(text: Any) -> float | None:
    """What GDAL writes as no data: a number as text."""
    try:
        return float(str(text).strip(" \x00"))
    except ValueError:
        return None


def _check_bands(shape: Sequence[int], dtype: Any, file_bytes: int, where: str) -> None:
    """Raise DataError for numbers too many to be a picture, or none."""
    num_bytes = math.prod(shape) * (0 if dtype is None else np.dtype(dtype).itemsize)
    if not num_bytes or np.dtype(dtype).kind not in "uifb":
        raise DataError(f"{where}: holds no numbers that make a picture (shape {tuple(shape)}, type {dtype})")
    if num_bytes > _MOST_PACKED * (file_bytes + 1024):
        raise DataError(f"{where}: says that it holds {num_bytes:,} bytes of numbers, in a file of {file_bytes:,}: damaged")
    if num_bytes > MAX_BANDS_BYTES:
        raise DataError(
            f"{where}: {num_bytes:,} bytes of numbers, more than the {MAX_BANDS_BYTES:,} allowed; cut it into pieces"
        )


def _read_dicom(content: bytes, where: str) -> Bands:
    """The one picture of a DICOM file: stored values after the modality transform, or colours. Nothing else of it is kept."""
    try:
        import pydicom
        from pydicom.errors import BytesLengthException, InvalidDicomError
        from pydicom.pixels import apply_modality_lut
    except ImportError as error:
        raise UsageError(f"{where}: reading DICOM needs pydicom; run: pip install 'adapt-vlm[dicom]'") from error
    if _DEFLATED in content[:4096]:
        raise DataError(f"{where}: a deflated DICOM file; store it with another transfer syntax")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that break the standard in ways that do not matter here
            dataset = pydicom.dcmread(io.BytesIO(content))
            kind = str(dataset.get("PhotometricInterpretation", ""))
            _check_dicom(dataset, kind, len(content), where)
            values = _channels_last(dataset.pixel_array)
            if not kind.startswith("MONOCHROME"):
                return Bands(values, is_final=True)
            window = _dicom_window(dataset)
            values = apply_modality_lut(values, dataset)
            missing = _dicom_padding(dataset)
    except DataError:
        raise
    except (*safe.DAMAGE, RuntimeError, AttributeError, AssertionError, InvalidDicomError, BytesLengthException) as error:
        raise DataError(f"{where}: a DICOM file that cannot be read: {' '.join(str(error).split())[:300]}") from error
    return Bands(values, 1, missing, window, kind == "MONOCHROME1")


def _check_dicom(dataset: Any, kind: str, num_bytes: int, where: str) -> None:
    """Raise DataError for what is not one picture of grey values or 8-bit colours."""
    rows, columns, bits = (int(dataset.get(name) or 0) for name in ("Rows", "Columns", "BitsAllocated"))
    frames, samples = (int(dataset.get(name) or 1) for name in ("NumberOfFrames", "SamplesPerPixel"))
    if frames != 1:
        raise DataError(f"{where}: a DICOM file of {frames:,} frames; expected one: export the frame to be shown")
    if kind not in _DICOM_KINDS or (samples == 3 and bits != 8) or samples != (1 if kind.startswith("MONO") else 3):
        raise DataError(f"{where}: DICOM pixels of {samples} samples ({kind or 'no kind'}), {bits} bits; export them as PNG")
    if rows < 1 or columns < 1 or bits not in (8, 16, 32):
        raise DataError(f"{where}: a DICOM file without a picture ({columns}x{rows} pixels of {bits} bits)")
    _check_bands((rows, columns, samples), f"u{bits // 8}", num_bytes, where)


def _dicom_padding(dataset: Any) -> float | None:
    """What a pixel without a value holds once the modality transform is done."""
    padding = dataset.get("PixelPaddingValue")
    if padding is None or "ModalityLUTSequence" in dataset:
        return None
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    return float(padding) * float(1 if slope is None else slope) + float(intercept or 0)


def _dicom_window(dataset: Any) -> Window | None:
    """The first window that the file gives."""
    centers, widths = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centers is None or widths is None:
        return None
    first = [
        float(each[0] if isinstance(each, Sequence | collections.abc.MutableSequence) else each) for each in (centers, widths)
    ]
    return Window(first[0], first[1], str(dataset.get("VOILUTFunction") or "LINEAR"))
