"""The published values, config/published.csv: what the papers printed, and under which protocol."""

from pathlib import Path

import pandas as pd

from vreid.errors import InputError

UNCHECKED = " (recollected, not checked)"  # at the end of a source
COLUMNS = ["table", "row", "train", "test", "metric", "value", "protocol", "note", "source"]


def read_published(path: str | Path) -> pd.DataFrame:
    """The published values as printed (text; "" where blank), indexed by table, row, train, test, metric."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from None
    if list(frame.columns) != COLUMNS:
        raise InputError(f"{path}: the columns must be {', '.join(COLUMNS)}")
    if (bad := pd.to_numeric(frame.value, errors="coerce").isna() & (frame.value != "")).any():
        raise InputError(f"{path}: line {bad.idxmax() + 2}: {frame.value[bad.idxmax()]!r} is not a number; mend it")
    keys = COLUMNS[:5]
    if (twice := frame.duplicated(keys)).any():
        line = twice.idxmax()
        raise InputError(f"{path}: line {line + 2} repeats {', '.join(frame.loc[line, keys])}; keep one")
    return frame.set_index(keys)
