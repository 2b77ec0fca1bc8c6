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
from dsresearch.schema.protocol import are_names, decided_in, read_protocol
from dsresearch.schema.read import read_parquet, read_runs, read_table, read_trials, run_rows, trial_rows
from dsresearch.schema.write import (
    TEMPORARY,
    WriteError,
    natural,
    place,
    remove_temporary,
    sync_folder,
    write_atomic,
    write_csv,
    write_new,
    write_parquet,
    write_table,
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
    "are_names",
    "arrow_schema",
    "decided_in",
    "natural",
    "place",
    "read_parquet",
    "read_protocol",
    "read_runs",
    "read_table",
    "read_trials",
    "remove_temporary",
    "run_rows",
    "sync_folder",
    "trial_rows",
    "write_atomic",
    "write_csv",
    "write_new",
    "write_parquet",
    "write_table",
]
