"""The study's files as contracts: columns, types and meaning, read with validation and written with fixed bytes.

The ledger writes these files and the report reads them; this is all that the two share, so it imports neither jax nor
sacred. Integers are stored and percentages derived.
"""

from dsresearch.schema.columns import (
    CONTROL_KINDS,
    DIVERGENCE_COLUMNS,
    EPOCH_COLUMNS,
    EQ_CLASSES,
    KEY,
    ONE_STUDY,
    PREDICTION_COLUMNS,
    ROLES,
    RUN_COLUMNS,
    SCHEMA_VERSION,
    STATUSES,
    TRIAL_COLUMNS,
    Column,
    arrow_schema,
)
from dsresearch.schema.read import read_parquet, read_runs, read_trials
from dsresearch.schema.write import (
    TEMPORARY,
    WriteError,
    natural,
    remove_temporary,
    sync_folder,
    write_atomic,
    write_csv,
    write_parquet,
)

__all__ = [
    "CONTROL_KINDS",
    "DIVERGENCE_COLUMNS",
    "EPOCH_COLUMNS",
    "EQ_CLASSES",
    "KEY",
    "ONE_STUDY",
    "PREDICTION_COLUMNS",
    "ROLES",
    "RUN_COLUMNS",
    "SCHEMA_VERSION",
    "STATUSES",
    "TEMPORARY",
    "TRIAL_COLUMNS",
    "Column",
    "WriteError",
    "arrow_schema",
    "natural",
    "read_parquet",
    "read_runs",
    "read_trials",
    "remove_temporary",
    "sync_folder",
    "write_atomic",
    "write_csv",
    "write_parquet",
]
