"""A contact sheet: a dozen tracklets of an indexed dataset on one picture, to see what a model is given."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from vreid.data.attributes import IRRELEVANT
from vreid.data.tracklets import COLUMNS, expand_frames, read_tracklets
from vreid.errors import InputError
from vreid.files import written_whole

TRACKLETS, FRAMES = 12, 8
FRAME = (96, 192)  # pixels, width × height, of a frame on the sheet
MARGIN, GAP, CAPTION = 20, 4, 72
PAPER, INK, FAINT = "#f1efea", "#26282c", "#50535a"


def contact_sheet(table: str | Path, root: str | Path, out_png: str | Path) -> None:
    """Draw tracklets of an annotated (or plain) index as rows of enlarged frames, a caption above each.

    A caption says who, which camera and split, and which attributes differ from the dataset's usual values.
    Raises InputError for a frame that is missing or is no image.
    """
    index = read_tracklets(table)
    chosen = index.loc[choose(index)].sort_values(["pid", "camid", "tracklet"])
    width = 2 * MARGIN + FRAMES * FRAME[0] + (FRAMES - 1) * GAP
    height = len(chosen) * (CAPTION + FRAME[1]) + 2 * MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    for position, (template, caption) in enumerate(zip(chosen.frames, captions(index, chosen))):
        top = MARGIN // 2 + position * (CAPTION + FRAME[1])
        _write(sheet, top, *caption)
        for place, name in enumerate(spread(expand_frames(template), FRAMES)):
            left = MARGIN + place * (FRAME[0] + GAP)
            sheet.paste(_frame(Path(root) / name), (left, top + CAPTION))
    with written_whole(out_png) as aside:
        sheet.save(aside)


def choose(index: pd.DataFrame, count: int = TRACKLETS) -> list:
    """Labels of the rows to show.

    Each pick adds the most that no earlier one showed of splits, cameras and unusual values of ID-irrelevant
    attributes; the first row wins ties. No person is shown twice while there are others.
    """
    traits = [index[name].eq(value) for name in ("split", "camid") for value in index[name].unique()]
    for name in filter(index.columns.__contains__, IRRELEVANT):
        values = index[name].dropna()
        traits += [index[name].eq(value).fillna(False) for value in values.unique() if value != usual(values)]
    shows = np.column_stack([trait.to_numpy(dtype=bool) for trait in traits])
    pids, new, free = index.pid.to_numpy(), np.ones(shows.shape[1], bool), np.ones(len(index), bool)
    picks: list[int] = []
    while free.any() and len(picks) < count:
        fresh = free & ~np.isin(pids, pids[picks])
        candidates = np.flatnonzero(fresh if fresh.any() else free)
        gains = shows[candidates][:, new].sum(axis=1)
        pick = candidates[gains.argmax()]
        if not gains.any() and not new.all():  # everything was shown once: begin anew
            new[:] = True
            continue
        picks.append(int(pick))
        free[pick] = False
        new &= ~shows[pick]
    return index.index[picks].to_list()


def usual(values: pd.Series) -> int:
    """The most common value; the least of several equally common ones."""
    return int(values.mode().min())


def spread(names: list[str], count: int) -> list[str]:
    """`count` of the names, evenly spread from the first to the last; all where there are no more."""
    if len(names) <= count:
        return names
    return [names[i] for i in np.linspace(0, len(names) - 1, count).round().astype(int)]


def captions(index: pd.DataFrame, chosen: pd.DataFrame) -> list[tuple[str, str]]:
    """For each chosen row: who, where, of which split; and which attributes are not usual in the index."""
    attributes = [name for name in index.columns if name not in COLUMNS and index[name].notna().any()]
    common = {name: usual(index[name].dropna()) for name in attributes}
    return [(_who(row), _unusual(row[attributes].dropna(), common)) for _, row in chosen.iterrows()]


def _who(row: pd.Series) -> str:
    person = {0: "distractor", -1: "junk"}.get(row.pid, f"person {row.pid}")
    frames = "1 frame" if row.num_frames == 1 else f"{row.num_frames} frames"
    return f"{person} · camera {row.camid} · {row.split} · {frames}"


def _unusual(values: pd.Series, common: dict[str, int]) -> str:
    if values.empty:
        return "not annotated"
    # The name of a fault says that it is there; other attributes have codes.
    said = [
        name if IRRELEVANT.get(name) == 2 and value == 1 else f"{name} {value}"
        for name, value in values.items()
        if value != common[name]
    ]
    return " · ".join(said) or "nothing unusual"


def _write(sheet: Image.Image, top: int, who: str, unusual: str) -> None:
    draw, room = ImageDraw.Draw(sheet), sheet.width - 2 * MARGIN
    for text, size, ink, down in ((who, 25, INK, 10), (unusual, 22, FAINT, 39)):
        font = ImageFont.load_default(size)
        draw.text((MARGIN, top + down), fitted(text, font, room), fill=ink, font=font)


def fitted(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """Words between dots, as many as there is room for."""
    if font.getlength(text) <= room:
        return text
    while font.getlength(text + " …") > room:
        text = text.rpartition(" · ")[0] or text[:-1]
    return text + " …"


def _frame(path: Path) -> Image.Image:
    """A frame scaled to fit the sheet's cells; small ones are enlarged."""
    try:
        with Image.open(path) as image:
            image = image.convert("RGB")
    except FileNotFoundError:
        raise InputError(f"{path}: no such frame; is this the root that the table was indexed from?") from None
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path}: cannot be decoded ({error}); replace the file") from None
    scale = min(FRAME[0] / image.width, FRAME[1] / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)
