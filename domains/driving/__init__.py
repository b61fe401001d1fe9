"""Driving: street scenes as cameras of a vehicle see them."""

from adapt.domain import Domain
from domains.driving import bdd
from domains.driving.recipe import RECIPE

DOMAIN = Domain(
    name="driving",
    summary="cameras around a vehicle: scenes, behaviour, planning",
    tasks=(bdd.TASK,),
    recipe=RECIPE,
)
