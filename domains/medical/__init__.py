"""Medicine: radiology, pathology and blood, asked about and classified."""

from adapt.domain import Domain
from domains.medical import medmnist, pathvqa, pmcvqa, slake, vqarad
from domains.medical.recipe import RECIPE

DOMAIN = Domain(
    name="medical",
    summary="radiology, pathology and clinical pictures",
    tasks=(
        vqarad.TASK,
        slake.TASK,
        pmcvqa.TASK,
        pathvqa.TASK,
        medmnist.TASK,
    ),
    recipe=RECIPE,
)
