"""Medicine: radiology, pathology and blood, asked about, classified and marked."""

from adapt.domain import Demo, Domain
from domains.medical import answers, letters, medground, medmnist, pathvqa, pmcvqa, slake, vqarad
from domains.medical.recipe import RECIPE
from domains.medical.sample import write_sample

DOMAIN = Domain(
    name="medical",
    summary="radiology, pathology and clinical pictures",
    tasks=(
        vqarad.TASK,
        slake.TASK,
        pmcvqa.TASK,
        pathvqa.TASK,
        medmnist.TASK,
        medground.TASK,
    ),
    benchmarks=(*answers.BENCHMARKS, letters.PMCVQA, medground.BENCHMARK),
    recipe=RECIPE,
    sample=write_sample,
    demo=Demo("bloodmnist", benchmark="classify", size=800),
)
