"""Remote sensing: scenes and questions seen from satellites and aircraft."""

from adapt.domain import Demo, Domain
from domains.remote_sensing import geochat, rsclassify, rsdetect, rsground, rsregion, rsvqa
from domains.remote_sensing.recipe import RECIPE
from domains.remote_sensing.sample import write_sample
from domains.remote_sensing.scoring import BENCHMARKS

DOMAIN = Domain(
    name="remote_sensing",
    summary="the earth from satellites and aircraft: scenes, questions, objects",
    tasks=(
        rsclassify.TASK,
        rsvqa.TASK,
        rsground.TASK,
        rsdetect.TASK,
        rsregion.TASK,
        geochat.TASK,
    ),
    benchmarks=(*BENCHMARKS, rsground.BENCHMARK),
    recipe=RECIPE,
    sample=write_sample,
    demo=Demo("eurosat", benchmark="rsclassify", size=800),
)
