"""How far boxes in pixels overlap, and which belong together.

Two published rules differ (github.com/like413/OPT-RSVG ``utils/eval_utils.py``; ``rs_det/caculate.py`` below
``internvl_chat/eval/domain_specific`` of github.com/OpenGVLab/InternVL): areas as they are and a hit from the threshold on, or
one pixel more in each width and height and a hit above the threshold.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from adapt.boxes import Box


@dataclasses.dataclass(frozen=True)
class Rule:
    """``extra_px`` is added to each width and height; ``is_strict``: an overlap of just the threshold is no hit."""

    extra_px: float
    is_strict: bool

    def is_hit(self, iou: float, threshold: float) -> bool:
        """Whether an overlap reaches the threshold."""
        return iou > threshold if self.is_strict else iou >= threshold


PLAIN, PLUS_ONE = Rule(0.0, is_strict=False), Rule(1.0, is_strict=True)


@dataclasses.dataclass(frozen=True)
class Overlaps:
    """Of each true box (T) with each predicted one (P): intersection and IoU; the areas of both."""

    intersections_TP: np.ndarray
    ious_TP: np.ndarray
    areas_T: np.ndarray
    areas_P: np.ndarray


def overlaps(true_px: Sequence[Box], predicted_px: Sequence[Box], rule: Rule) -> Overlaps:
    """Overlap of each with each. A box whose second corner lies before the first has no area and overlaps nothing."""
    true_T4 = np.asarray(true_px, dtype=np.float64).reshape(-1, 4)
    predicted_P4 = np.asarray(predicted_px, dtype=np.float64).reshape(-1, 4)
    areas_T, areas_P = _areas(true_T4, rule), _areas(predicted_P4, rule)
    firsts_TP2 = np.maximum(true_T4[:, None, :2], predicted_P4[None, :, :2])
    seconds_TP2 = np.minimum(true_T4[:, None, 2:], predicted_P4[None, :, 2:])
    intersections_TP = np.maximum(seconds_TP2 - firsts_TP2 + rule.extra_px, 0.0).prod(axis=2)
    unions_TP = areas_T[:, None] + areas_P[None, :] - intersections_TP
    ious_TP = np.divide(intersections_TP, unions_TP, out=np.zeros_like(intersections_TP), where=unions_TP > 0)
    return Overlaps(intersections_TP, ious_TP, areas_T, areas_P)


def _areas(boxes_N4: np.ndarray, rule: Rule) -> np.ndarray:
    return np.maximum(boxes_N4[:, 2:] - boxes_N4[:, :2] + rule.extra_px, 0.0).prod(axis=1)


def pair_boxes(ious_TP: np.ndarray) -> list[tuple[int, int]]:
    """(true, predicted) one to one, the pair that overlaps most first; pairs that do not overlap are none.

    Pairs come with falling overlap, so those above a threshold are the first ones; equal overlaps go in the order of the boxes.
    """
    num_true, num_predicted = ious_TP.shape
    flat = ious_TP.ravel()
    touching = np.flatnonzero(flat > 0)
    pairs: list[tuple[int, int]] = []
    free_T, free_P = [True] * num_true, [True] * num_predicted
    for place in touching[np.argsort(-flat[touching], kind="stable")]:
        true, predicted = divmod(int(place), num_predicted)
        if free_T[true] and free_P[predicted]:
            free_T[true] = free_P[predicted] = False
            pairs.append((true, predicted))
            if len(pairs) == min(num_true, num_predicted):
                break
    return pairs
