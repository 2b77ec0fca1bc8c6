"""The studies as data, without jax: `catalogue` is the place to read first, or to add one (docs/add-a-study.md).

study.py        what an arm and a study are
catalogue.py    every study: its question, its arms, its controls
profiles.py     how large: smoke, quick, full, paper, confirm
cells.py        an arm with all its trials is a cell, and cells make a plan
"""

from dsresearch.studies.catalogue import STUDIES
from dsresearch.studies.cells import Cell, Plan, cell_name, network_cost
from dsresearch.studies.profiles import PROFILES, profile_settings, settings_of
from dsresearch.studies.study import CONTROL_SETUPS, CONTROLS, TWINS, Arm, Study

__all__ = [
    "CONTROLS",
    "CONTROL_SETUPS",
    "PROFILES",
    "STUDIES",
    "TWINS",
    "Arm",
    "Cell",
    "Plan",
    "Study",
    "cell_name",
    "network_cost",
    "profile_settings",
    "settings_of",
]
