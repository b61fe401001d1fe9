"""General data: what a model should not lose while it learns a field."""

from adapt.domain import Domain
from domains.general import easyvqa
from domains.general.sample import write_sample

DOMAIN = Domain(
    name="general",
    summary="everyday questions: what the model should keep",
    tasks=(easyvqa.TASK,),
    sample=write_sample,
)
