"""Driving: street scenes as cameras of a vehicle see them, one at a time, all at once, or as clips."""

from adapt.domain import Demo, Domain
from domains.driving import bdd, bddx, drivelm, mme_realworld_ad, nuscenes
from domains.driving.bddx_scoring import BDDX
from domains.driving.drivelm_scoring import DRIVELM
from domains.driving.recipe import RECIPE
from domains.driving.sample import write_sample

DOMAIN = Domain(
    name="driving",
    summary="cameras around a vehicle: scenes, behaviour, planning",
    tasks=(
        drivelm.TASK,
        nuscenes.TASK,
        bdd.TASK,
        bddx.TASK,
        mme_realworld_ad.TASK,
    ),
    benchmarks=(DRIVELM, BDDX, mme_realworld_ad.BENCHMARK),
    recipe=RECIPE,
    sample=write_sample,
    demo=Demo(
        "bdd",
        benchmark="vqa",
        size=600,
        options={"kinds": "weather,timeofday"},
        # Left and right of a street are not the same, so nothing is mirrored.
        settings=("data.augment=none", "data.max_tiles=1"),
    ),
)
