"""One page over runs: what was trained, how it went, what it scores beside what it was tuned from, and what it gets wrong.

``page.py`` puts it together; the other files are one section each. ``upkeep.py`` keeps a run's own page and card up to date.
"""
