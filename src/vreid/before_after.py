"""A picture of completed frames: before, what was found occluded, and after, between the neighbours that were used."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from vreid.contact import FAINT, INK, PAPER, fitted
from vreid.data.regions import frame_spans, of_tracklets, read_regions, strip_rows
from vreid.data.tracklets import expand_frames, read_tracklets
from vreid.errors import InputError
from vreid.files import written_whole

FRAME = (96, 192)  # pixels, width × height, of a frame on the picture
COLUMNS, ROWS = 2, 6  # of samples
MARGIN, GAP, BETWEEN, HEAD, CAPTION = 20, 4, 36, 34, 38
TITLES = ("before it", "original", "found", "completed", "after it")
MARK = (214, 69, 48)


def before_after(index: Path, regions: Path, root: Path, completed: Path, out: Path) -> None:
    """Draw a dozen completed frames of different tracklets, those annotated as occluded first.

    Five pictures each: the nearest unoccluded frame before it, the frame, its regions with their scores (the occluded
    ones marked), the completed frame, the nearest unoccluded frame after it.
    """
    table = read_tracklets(index)
    rows = read_regions(regions, "score", "occluded")
    score, occluded = (of_tracklets(rows, table, name, regions) for name in ("score", "occluded"))
    chosen = choose(table, occluded == 1, COLUMNS * ROWS)
    if not chosen:
        raise InputError(f"{regions}: no occluded frame with an unoccluded one beside it; there is nothing to show")
    wide = len(TITLES) * FRAME[0] + (len(TITLES) - 1) * GAP
    columns = min(COLUMNS, len(chosen))
    lines = -(-len(chosen) // columns)
    size = 2 * MARGIN + columns * wide + (columns - 1) * BETWEEN, MARGIN + HEAD + lines * (CAPTION + FRAME[1]) + MARGIN
    sheet = Image.new("RGB", size, PAPER)
    for column in range(columns):
        for place, title in enumerate(TITLES):
            left = MARGIN + column * (wide + BETWEEN) + place * (FRAME[0] + GAP)
            _centred(sheet, left, MARGIN // 2 + 6, title)
    for number, (row, frame, before, after) in enumerate(chosen):
        line, column = divmod(number, columns)
        left, top = MARGIN + column * (wide + BETWEEN), MARGIN // 2 + HEAD + line * (CAPTION + FRAME[1])
        names, at = expand_frames(table["frames"].iloc[row]), frame_spans(table["num_frames"].to_numpy())[row].start
        original = _frame(root / names[frame])
        marked = mark(original, score[at + frame], occluded[at + frame] == 1)
        shown = [_frame(root / names[before]), original, marked, _frame(completed / names[frame])]
        for place, picture in enumerate([*shown, _frame(root / names[after])]):
            sheet.paste(picture, (left + place * (FRAME[0] + GAP), top + CAPTION))
        _caption(sheet, left, top, table.iloc[row], frame)
    with written_whole(out) as aside:
        sheet.save(aside)


def choose(table: pd.DataFrame, occluded: np.ndarray, count: int) -> list[tuple[int, int, int, int]]:
    """(row, frame, frame before, frame after) of at most `count` completed frames, places from 0.

    Up to half of them are of tracklets annotated as occluded, or else with several people; the others spread over the
    people of the table. Of a tracklet the frame is shown whose occluded regions are fewest, the middle one of those.
    """
    able = {}
    for row, span in enumerate(frame_spans(table["num_frames"].to_numpy())):
        hidden = occluded[span].sum(1)
        clean = np.flatnonzero(hidden == 0)
        if len(clean) and len(clean) < len(hidden):
            fewest = np.flatnonzero(hidden == hidden[hidden > 0].min())
            frame = int(fewest[len(fewest) // 2])
            before, after = clean[clean < frame], clean[clean > frame]
            sides = [int(side[at]) for side, at in ((before, -1), (after, 0)) if len(side)]
            able[row] = (frame, sides[0], sides[-1])
    rows = np.array(sorted(able), int)
    picked: list[int] = []
    for name in ("occlusion", "multi-person"):
        if name in table:
            annotated = table[name].eq(1).fillna(False).to_numpy(bool)[rows]
            picked += spread(np.setdiff1d(rows[annotated], picked), count // 2 - len(picked))
    people = rows[table["pid"].to_numpy()[rows] > 0]
    picked += spread(np.setdiff1d(people, picked), count - len(picked))
    return [(row, *able[row]) for row in sorted(picked)]


def spread(rows: np.ndarray, count: int) -> list[int]:
    """`count` of them at even distances; all where there are no more."""
    if len(rows) <= count:
        return rows.tolist()
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(int)].tolist()


def mark(frame: Image.Image, scores: np.ndarray, occluded: np.ndarray) -> Image.Image:
    """The frame with each region's score, the occluded ones tinted and framed."""
    shown = frame.convert("RGB")
    font = ImageFont.load_default(15)
    for rows, score, hidden in zip(strip_rows(shown.height, len(scores)), scores, occluded):
        box = (0, rows.start, shown.width - 1, rows.stop - 1)
        if hidden:
            tint = Image.new("RGB", (shown.width, rows.stop - rows.start), MARK)
            shown.paste(Image.blend(shown.crop((0, rows.start, shown.width, rows.stop)), tint, 0.35), box[:2])
            ImageDraw.Draw(shown).rectangle(box, outline=MARK, width=3)
        ink = ImageDraw.Draw(shown)
        ink.text((7, rows.start + 5), f"{score:.2f}", fill="white", font=font, stroke_width=2, stroke_fill=INK)
    return shown


def _frame(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB").resize(FRAME, Image.Resampling.LANCZOS)
    except (OSError, SyntaxError) as error:
        raise InputError(
            f"{path}: cannot be shown ({error}); is this the root that the table was indexed from?"
        ) from None


def _centred(sheet: Image.Image, left: int, top: int, text: str) -> None:
    font, draw = ImageFont.load_default(17), ImageDraw.Draw(sheet)
    draw.text((left + (FRAME[0] - draw.textlength(text, font)) / 2, top), text, fill=FAINT, font=font)


def _caption(sheet: Image.Image, left: int, top: int, row: pd.Series, frame: int) -> None:
    person = {0: "distractor", -1: "junk"}.get(row["pid"], f"person {row['pid']}")
    faults = [
        name for name in ("occlusion", "multi-person") if name in row and not pd.isna(row[name]) and row[name] == 1
    ]
    words = [person, f"camera {row['camid']}", row["split"], f"frame {frame + 1} of {row['num_frames']}", *faults]
    font, room = ImageFont.load_default(15), len(TITLES) * (FRAME[0] + GAP)
    ImageDraw.Draw(sheet).text((left, top + 13), fitted(" · ".join(words), font, room), fill=INK, font=font)
