"""General data: what a model should not lose while it learns a field."""

from adapt.domain import Demo, Domain
from domains.general import cocoqa, easyvqa
from domains.general.sample import write_sample
from domains.general.scoring import BENCHMARKS

DOMAIN = Domain(
    name="general",
    summary="everyday questions: what the model should keep",
    tasks=(
        easyvqa.TASK,
        cocoqa.TASK,
    ),
    benchmarks=BENCHMARKS,
    sample=write_sample,
    demo=Demo("easy_vqa", benchmark="vqa", size=600),
)
