"""One file per verb: a typed function that the command line and Python users call."""

from adapt.verbs.convert import convert
from adapt.verbs.tasks import tasks

__all__ = ["convert", "tasks"]
