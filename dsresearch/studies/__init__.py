"""The studies as data, without jax: `catalogue` is the place to read first, or to add one (docs/add-a-study.md).

study.py        what an arm and a study are
catalogue.py    every study: its question, its arms, its controls
profiles.py     how large: smoke, quick, full, cpu, paper, confirm
designs.py      what an arm trains: the study's stack, or a published network
cells.py        an arm with all its trials is a cell, and cells make a plan
plan.py         what was asked for, made into cells; settings.py the words that it is asked in
rates.py        the hours that a plan will take
"""

from dsresearch.studies.catalogue import STUDIES
from dsresearch.studies.cells import Cell, Plan, cell_name
from dsresearch.studies.designs import Varied, check_point, design_of, fields_of, is_proven, is_published, network_cost
from dsresearch.studies.profiles import PROFILES, base_profile, custom_profile, profile_settings, settings_of
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
    "Varied",
    "base_profile",
    "cell_name",
    "check_point",
    "custom_profile",
    "design_of",
    "fields_of",
    "is_proven",
    "is_published",
    "network_cost",
    "profile_settings",
    "settings_of",
]
