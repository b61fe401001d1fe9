"""Labelled objects on the upright copy of a picture that is stored turned (``--option upright=yes``)."""

import dataclasses

import numpy as np
from PIL import Image

from adapt.orientation import upright, upright_box, upright_point, upright_size
from converters.masks import decode_rle, encode_rle
from converters.objects import MaskFile, ObjectsSample, PictureObject, Rle


def upright_objects(sample: ObjectsSample, orientation: int) -> ObjectsSample:
    """The sample with boxes, outlines and masks moved to the upright picture; its size and stated size with them.

    Where the stated size is the upright one and not the stored one, the objects were labelled upright and stay.
    """
    size = sample.size
    turned_size = upright_size(size, orientation)
    if sample.stated_size is not None and sample.stated_size != size and sample.stated_size == turned_size:
        return dataclasses.replace(sample, sizes=(turned_size,))
    stated = None if sample.stated_size is None else upright_size(sample.stated_size, orientation)
    objects = tuple(upright_object(each, size, orientation, sample.where) for each in sample.objects)
    return dataclasses.replace(sample, objects=objects, sizes=(turned_size,), stated_size=stated, as_stored=sample)


def upright_object(each: PictureObject, size: tuple[int, int], orientation: int, where: str) -> PictureObject:
    """The object of a stored picture of ``size`` on the upright one."""
    return dataclasses.replace(
        each,
        box_px=upright_box(each.box_px, size, orientation),
        polygons_px=tuple(tuple(upright_point(point, size, orientation) for point in polygon) for polygon in each.polygons_px),
        oriented_px=tuple(upright_point(point, size, orientation) for point in each.oriented_px),
        mask=_upright_mask(each.mask, orientation, where),
    )


def _upright_mask(mask: Rle | MaskFile | None, orientation: int, where: str) -> Rle | MaskFile | None:
    if mask is None:
        return None
    if isinstance(mask, MaskFile):
        return dataclasses.replace(mask, orientation=orientation)
    return encode_rle(np.asarray(upright(Image.fromarray(decode_rle(mask, where)), orientation)))
