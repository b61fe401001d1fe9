"""One file per task type, and the domain of those tasks that belong to no field."""

from adapt.domain import Domain
from converters import chat, classification, grounding, multiview, region, video, vqa

DOMAIN = Domain(
    name="generic",
    summary="pictures, questions and boxes of your own, in the formats that tools write",
    tasks=(
        classification.TASK,
        grounding.GROUND,
        grounding.DETECT,
        grounding.COUNT,
        region.TASK,
        vqa.TASK,
        multiview.TASK,
        video.TASK,
        chat.TASK,
    ),
)
