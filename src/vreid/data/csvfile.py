"""CSV files: those of others read with clear errors, ours written with the same bytes every time."""

import gzip
import io
import zlib
from pathlib import Path

import pandas as pd

from vreid.errors import InputError
from vreid.files import written_whole


def read_csv(path: str | Path) -> pd.DataFrame:
    """The rows of a CSV (UTF-8; gzip if the name ends in `.gz`), row i from line i + 2; only "" is blank.

    Raises InputError for a file that is missing, empty, torn, not text or not rectangular.
    """
    text = read_text(Path(path))
    try:
        table = pd.read_csv(
            io.StringIO(text.rstrip()),
            keep_default_na=False,
            na_values=[""],
            skip_blank_lines=False,  # else the rows after a blank line would be reported under wrong numbers
            low_memory=False,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: not a CSV table ({str(error).strip()})") from None
    # pandas takes the first cells for an index when every row is longer than the header
    if not isinstance(table.index, pd.RangeIndex):
        raise InputError(f"{path}: the rows have more cells than the header; is the header line torn?")
    if table.empty:
        raise InputError(f"{path}: a header without rows")
    return table


def read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        kind = "gzipped CSV" if path.suffix == ".gz" else "CSV"
        raise InputError(f"{path}: not a readable {kind} file ({error}); is it torn, or another file?") from None
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    return text


def integers(column: pd.Series, low: int, high: int, path: str | Path, blank: bool = False) -> pd.Series:
    """The column of a table from `read_csv` as int64 (Int64 with <NA> where `blank` cells are allowed).

    Raises InputError naming file, line and column of the first cell that is no integer from low to high.
    """
    as_read = column if pd.api.types.is_integer_dtype(column) else column.astype(str)
    numbers = pd.to_numeric(as_read, errors="coerce")
    wrong = ~((numbers % 1 == 0) & numbers.between(low, high))
    if blank:
        wrong &= column.notna()
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        cell = "blank" if pd.isna(column.iloc[row]) else repr(str(column.iloc[row]))
        raise InputError(f"{path}, line {row + 2}: {column.name!r} is {cell}; expected an integer from {low} to {high}")
    return numbers.astype("Int64" if blank else "int64")


def write_csv_gz(table: pd.DataFrame, path: str | Path) -> None:
    """Write the table whole, without its index; the same table gives the same bytes."""
    text = table.to_csv(index=False, lineterminator="\n")
    with written_whole(path) as aside:
        aside.write_bytes(gzip.compress(text.encode(), compresslevel=1, mtime=0))
