"""MARS's layout on disk → tracklet table.

    bbox_train/<pid>/<name>, bbox_test/<pid>/<name>     the frames; pid 0000 distractors, 00-1 junk
    info/train_name.txt, info/test_name.txt             the frames' names, one a line
    info/tracks_train_info.mat, tracks_test_info.mat    a tracklet a row: first line, last line, pid, camera
    info/query_IDX.mat                                  the rows of the test tracks that are queries

Lines and rows count from 1. A name is `<pid:4>C<camera>T<tracklet:4>F<frame:3>.jpg`: 19 characters, so that a
list is a matrix of bytes.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from vreid.data.frame_names import braces, ranges
from vreid.data.matfile import read_matrix
from vreid.data.presence import check_frames_present
from vreid.data.tracklets import check_tracklets
from vreid.errors import InputError

NAME = re.compile(rb"(?:[0-9]{4}|00-1)C[0-9]T[0-9]{4}F[0-9]{3}\.jpg")
DIGIT_COLUMNS = [5, 7, 8, 9, 10, 12, 13, 14]  # of the camera, the tracklet and the frame
LETTERS = {4: "C", 6: "T", 11: "F", 15: ".", 16: "j", 17: "p", 18: "g", 19: "\n"}
BELONGS = "MARS's info folder holds {train,test}_name.txt, tracks_{train,test}_info.mat and query_IDX.mat"


class Names(NamedTuple):
    """A name list, an int32 array of one number a line each."""

    source: Path
    pid: np.ndarray
    camid: np.ndarray
    tracklet: np.ndarray
    frame: np.ndarray


def index_mars(root: Path, names_only: bool = False) -> pd.DataFrame:
    """The tracklet table of a dataset in MARS's layout: training tracklets, then test tracklets, as listed.

    With `names_only` the name lists are trusted; else every frame must be there and hold bytes.
    """
    info = Path(root) / "info"
    train = index_side(info, "train")
    test = index_side(info, "test")
    train["split"] = "train"
    test["split"] = np.where(test["pid"] == -1, "junk", "gallery")
    test.loc[query_rows(info / "query_IDX.mat", len(test)), "split"] = "query"
    table = pd.concat([train, test], ignore_index=True)
    check_tracklets(table, root)
    if not names_only:
        check_frames_present(Path(root), table)
    return table


def index_side(info: Path, side: str) -> pd.DataFrame:
    names = read_names(info / f"{side}_name.txt")
    path = info / f"tracks_{side}_info.mat"
    tracks = read_matrix(path, f"track_{side}_info", BELONGS)
    check_lines(tracks, path, names)
    check_agreement(tracks, path, names)
    first, last, pids, camids = tracks.T
    numbers = names.tracklet[first - 1]
    templates = [
        frames_template(f"bbox_{side}", pid, camid, number, names.frame[start - 1 : end])
        for start, end, pid, camid, number in zip(*tracks.T.tolist(), numbers.tolist())
    ]
    columns = {"pid": pids, "camid": camids, "tracklet": numbers.astype(np.int64)}
    return pd.DataFrame({"split": side, **columns, "num_frames": last - first + 1, "frames": templates})


def frames_template(folder: str, pid: int, camid: int, number: int, frames: np.ndarray) -> str:
    label = f"{pid:04d}" if pid >= 0 else "00-1"
    parts = ranges(frames, width=3)
    field = braces(parts) if len(frames) > 1 else parts[0]
    return f"{folder}/{label}/{label}C{camid}T{number:04d}F{field}.jpg"


def read_names(path: Path) -> Names:
    """The numbers in a name list; raises InputError naming the first line that is no frame name."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; {BELONGS}") from None
    text = text.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
    matrix = np.frombuffer(text, np.uint8)
    matrix = matrix[: matrix.size // 20 * 20].reshape(-1, 20)
    digits = matrix - np.uint8(ord("0"))
    is_junk = (matrix[:, :4] == np.frombuffer(b"00-1", np.uint8)).all(axis=1)
    well_formed = (
        matrix.size == len(text)
        and all((matrix[:, at] == ord(letter)).all() for at, letter in LETTERS.items())
        and (digits[:, DIGIT_COLUMNS] <= 9).all()
        and ((digits[:, :4] <= 9).all(axis=1) | is_junk).all()
    )
    if not well_formed:
        lines = enumerate(text.split(b"\n"), start=1)
        number, line = next((number, line) for number, line in lines if not NAME.fullmatch(line))
        raise InputError(
            f"{path}, line {number}: {line.decode(errors='replace')!r} is not a frame name "
            "<pid:4>C<camera:1>T<tracklet:4>F<frame:3>.jpg"
        )
    pid = np.where(is_junk, -1, decimal(digits[:, 0:4])).astype(np.int32)
    return Names(path, pid, decimal(digits[:, 5:6]), decimal(digits[:, 7:11]), decimal(digits[:, 12:15]))


def decimal(digits: np.ndarray) -> np.ndarray:
    """(N, digits) → (N,) int32."""
    number = np.zeros(len(digits), np.int32)
    for column in digits.T:
        number = number * 10 + column
    return number


def check_lines(tracks: np.ndarray, path: Path, names: Names) -> None:
    """Raise InputError for the first row whose lines are not in the name list, or are another row's too."""
    if tracks.shape[1] != 4:
        raise InputError(f"{path}: {tracks.shape[1]} columns, not first line, last line, pid and camera")
    first, last = tracks[:, 0], tracks[:, 1]
    total, listed = len(names.pid), names.source.name
    outside = (first < 1) | (last > total) | (first > last)
    if outside.any():
        row = int(outside.argmax())
        raise InputError(
            f"{path}, row {row + 1}: lines {first[row]} to {last[row]} are no part of {listed} "
            f"with its {total} lines; the two files do not belong together, or one is torn"
        )
    order = np.argsort(first, kind="stable")
    shared = first[order][1:] <= last[order][:-1]
    if shared.any():
        rows = np.sort(order[shared.argmax() :][:2] + 1)
        raise InputError(f"{path}, rows {rows[0]} and {rows[1]}: both claim the same lines of {listed}")


def check_agreement(tracks: np.ndarray, path: Path, names: Names) -> None:
    """Raise InputError for the first row that is not distinct frames of its one person and camera."""
    first, last, pids, camids = tracks.T
    listed, lengths = names.source.name, last - first + 1
    row_of = np.repeat(np.arange(len(tracks)), lengths)
    line_of = np.arange(len(row_of)) + np.repeat(first - 1 - (np.cumsum(lengths) - lengths), lengths)
    for what, claimed, named in (
        ("person", pids, names.pid),
        ("camera", camids, names.camid),
        ("tracklet", names.tracklet[first - 1], names.tracklet),
    ):
        wrong = named[line_of] != claimed[row_of]
        if wrong.any():
            row, line = int(row_of[wrong.argmax()]), int(line_of[wrong.argmax()])
            here, start = f"{what} {named[line]} in line {line + 1} of {listed}", first[row] - 1
            if line == start:
                raise InputError(f"{path}, row {row + 1}: the row says {what} {claimed[row]}, but {here}")
            there = f"{what} {named[start]} in line {start + 1}"
            raise InputError(f"{path}, row {row + 1}: frames of two {what}s in one track: {there}, {here}")
    frames = np.sort(row_of * 1000 + names.frame[line_of])
    again = np.diff(frames) == 0
    if again.any():
        row, frame = divmod(int(frames[again.argmax()]), 1000)
        raise InputError(f"{path}, row {row + 1}: {listed} names frame {frame} of this tracklet twice")


def query_rows(path: Path, tracks: int) -> np.ndarray:
    """The test tracks that are queries, from 0."""
    rows = read_matrix(path, "query_IDX", BELONGS)
    if 1 not in rows.shape:
        raise InputError(f"{path}: query_IDX has the shape {rows.shape}, it is not one row of track numbers")
    rows = rows.ravel()
    outside = (rows < 1) | (rows > tracks)
    if outside.any():
        entry = int(outside.argmax())
        raise InputError(f"{path}, entry {entry + 1}: {rows[entry]} is none of the {tracks} test tracks")
    counts = np.bincount(rows)
    if counts.max() > 1:
        raise InputError(f"{path}: test track {counts.argmax()} is listed {counts.max()} times as a query")
    return rows - 1
