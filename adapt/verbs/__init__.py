"""One file per verb: a typed function that the command line and Python users call."""

from adapt.verbs.chat import chat
from adapt.verbs.check import check
from adapt.verbs.convert import convert
from adapt.verbs.demo import demo
from adapt.verbs.evaluate import evaluate
from adapt.verbs.export import export
from adapt.verbs.finetune import finetune
from adapt.verbs.gallery import gallery
from adapt.verbs.report import report
from adapt.verbs.sample import sample
from adapt.verbs.score import score
from adapt.verbs.sweep import sweep
from adapt.verbs.tasks import tasks
from adapt.verbs.translate import translate

__all__ = [
    "chat",
    "check",
    "convert",
    "demo",
    "evaluate",
    "export",
    "finetune",
    "gallery",
    "report",
    "sample",
    "score",
    "sweep",
    "tasks",
    "translate",
]
