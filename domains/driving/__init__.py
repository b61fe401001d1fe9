"""Driving: the field's recipe; its datasets are read as they are added."""

from adapt.domain import Domain
from domains.driving.recipe import RECIPE

DOMAIN = Domain(name="driving", summary="cameras around a vehicle: scenes, behaviour, planning", recipe=RECIPE)
