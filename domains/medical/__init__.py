"""Medicine: the field's recipe; its datasets are read as they are added."""

from adapt.domain import Domain
from domains.medical.recipe import RECIPE

DOMAIN = Domain(name="medical", summary="radiology, pathology and clinical pictures", recipe=RECIPE)
