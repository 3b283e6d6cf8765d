"""Fig. 6: where the streams look in low-quality tracklets, and how much of that falls on the person."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from vreid.data.attributes import QUALITY
from vreid.data.frame_maps import PLACE, FrameMaps, read_frame_maps
from vreid.data.tracklets import KEY, expand_frames, read_tracklets
from vreid.errors import InputError
from vreid.figures.drawing import STYLE, Said, cell, save
from vreid.figures.frames import height_of, read_picture

Spec = Mapping[str, Any]

KINDS = {"occlusion": "occluded", "multi-person": "several people", "background-dominant": "mostly background"}
STREAMS = {"irrelevant": "ID-irrelevant", "relevant": "ID-relevant", "reid": "Re-ID"}
COLOURS = matplotlib.colormaps["viridis"]
OVERLAY = 0.6  # weight of the colours over the frame
MOST_FRAMES = 8  # of a tracklet
GAP = 0.08  # between frames, in widths of a frame
OCCLUDED = 0.1  # share of the target's pixels that is hidden in an occluded frame
EXPLANATION = (
    "What the attribute streams attend to. Section 5.1 of the paper says: the human body, whatever the attributes, so "
    "that background and occlusions are filtered out; the ledger says whether that holds here."
)


def attention(
    spec: Spec, maps_path: Path, cells_path: Path | None, index_path: Path, root: Path, out_stem: str | Path
) -> None:
    """Write Fig. 6 as `out_stem`.svg, .png, .csv and .json.

    `spec`: {"number": 6, "title": …, "model": "asta+aitl", "tracklets_per_kind": 2}.
    `maps_path`: attention maps of that model; `cells_path`: what the target takes of their cells, of rendered data.

    The CSV has a row a cell of a drawn map. Raises InputError for a file that is missing or of another model or
    dataset, or where no tracklet of these kinds has maps.
    """
    found, index = read_frame_maps(maps_path), read_tracklets(index_path)
    _check(spec, found, maps_path)
    chosen = choose(index, found, spec["tracklets_per_kind"], index_path)
    most = height_of(sum(len(frames) for *_, frames in chosen) * (1 + len(found.maps)))
    pictures = [_pictures(root, row, frames, most) for _, row, frames in chosen]
    of_target = None if cells_path is None else shares(found, read_frame_maps(cells_path), cells_path)
    with matplotlib.rc_context(STYLE):
        figure = _draw(found, chosen, pictures)
        save(figure, spec, drawn(found, chosen), said(found, chosen, of_target), out_stem)


Chosen = tuple[str, pd.Series, pd.DataFrame]  # a kind, a row of the index, the rows of the places of its frames


def choose(index: pd.DataFrame, found: FrameMaps, per_kind: int, source: object) -> list[Chosen]:
    """`per_kind` tracklets with maps of each kind: those with a whole clip and no other fault first, as they stand.

    No person is shown twice while there are others, no tracklet at all.
    """
    if missing := [kind for kind in KINDS if kind not in index]:
        raise InputError(f"{source}: has no attribute {missing[0]!r}; give the annotated index")
    frames = {key: rows for key, rows in found.places.groupby(KEY)}
    able = index[[tuple(key) in frames for key in index[KEY].to_numpy().tolist()]]
    lengths = np.array([len(frames[tuple(key)]) for key in able[KEY].to_numpy().tolist()], int)
    able = able.assign(others=able[list(QUALITY)].fillna(0).sum(axis=1).astype(int), lacking=-lengths)
    able = able.sort_values(["lacking", "others"], kind="stable")
    picked: list[Chosen] = []
    for kind in KINDS:
        own = able[able[kind].eq(1).fillna(False).to_numpy(bool)]
        for _ in range(per_kind):
            shown = [row.name for _, row, _ in picked]
            left = own[~own.index.isin(shown)]
            fresh = left[~left["pid"].isin([row["pid"] for _, row, _ in picked])]
            if len(left):
                row = (fresh if len(fresh) else left).iloc[0]
                places = frames[tuple(row[KEY])]
                spread = np.linspace(0, len(places) - 1, min(len(places), MOST_FRAMES)).round().astype(int)
                picked.append((kind, row, places.iloc[spread]))
    if not picked:
        raise InputError(f"{source}: no tracklet that has maps is annotated with {', '.join(KINDS)}")
    return picked


def shares(found: FrameMaps, truth: FrameMaps, source: object) -> pd.DataFrame:
    """What of each stream's attention falls on the target, a row a frame in which there is one.

    Columns: those of its place; `target` and `hidden`, shares of the frame's area that the target takes, visible and
    hidden; and by stream the attention on the target's visible pixels over all attention, a cell's attention being
    spread evenly over its pixels. Attention that is the same everywhere gives `target`.
    """
    target, hidden = on_cells(found, truth, source)
    table = found.places.assign(target=target.mean((1, 2)), hidden=hidden.mean((1, 2)))
    for stream in streams(found):
        mass = found.maps[stream].astype(float) + 1e-12
        table[stream] = (mass * target).sum((1, 2)) / mass.sum((1, 2))
    return table[table["target"] + table["hidden"] > 0].reset_index(drop=True)


def on_cells(found: FrameMaps, truth: FrameMaps, source: object) -> tuple[np.ndarray, np.ndarray]:
    """What the target takes of each cell of the maps (N, h, w), visible and hidden, in the order of their frames."""
    if {"target", "hidden"} - truth.maps.keys() or truth.grid != found.grid:
        raise InputError(f"{source}: not the target's share of the cells of these maps; write it from them again")
    known = truth.places.assign(at=np.arange(len(truth.places)))
    at = found.places.merge(known, "left", on=PLACE)["at"]
    if at.isna().any() or len(at) != len(found.places):
        raise InputError(f"{source}: not of the same frames as the maps; write it from them again")
    target, hidden = (truth.maps[name][at.to_numpy(int)].astype(float) for name in ("target", "hidden"))
    return target, hidden


def mean_shares(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The frames without occlusion and with, by what of the target is hidden."""
    occluded = table["hidden"] > OCCLUDED * (table["target"] + table["hidden"])
    return {"without occlusion": table[~occluded], "with occlusion": table[occluded], "all": table}


def streams(found: FrameMaps) -> list[str]:
    """The streams, in the order of the paper."""
    return sorted(found.maps, key=lambda name: (list(STREAMS).index(name) if name in STREAMS else len(STREAMS), name))


def drawn(found: FrameMaps, chosen: Sequence[Chosen]) -> pd.DataFrame:
    """A row a cell of a drawn map: kind, the frame, the stream, row and column from 1, attention."""
    parts = []
    for kind, _, places in chosen:
        for stream in streams(found):
            maps = found.maps[stream][places.index]
            frame, row, column = (axis.ravel() for axis in np.indices(maps.shape))
            part = places.iloc[frame].reset_index(drop=True)
            more = {"stream": stream, "row": row + 1, "column": column + 1, "attention": maps.ravel().astype(float)}
            parts.append(pd.concat([pd.Series(kind, part.index, name="kind"), part, pd.DataFrame(more)], axis=1))
    return pd.concat(parts, ignore_index=True).round({"attention": 6})


def said(found: FrameMaps, chosen: Sequence[Chosen], of_target: pd.DataFrame | None) -> Said:
    """What the report says of the maps; of rendered data, what share of the attention is on the target."""
    names = [_name(stream) for stream in streams(found)]
    caption = (
        f"Measured on {measured_on(found)}. Each row is a test tracklet, the middle clip of it; tracklets are the "
        "first of their kind in the index that have no other fault. The colours of a stream have one scale, from its "
        f"least to its greatest attention in the picture; the maps have {found.grid[0]}×{found.grid[1]} cells. "
        f"{_evenness(found)}"
    )
    alt = (
        f"{len(chosen)} tracklets ({', '.join(dict.fromkeys(KINDS[kind] for kind, _, _ in chosen))}): their frames, "
        f"and over them the attention of the {' and the '.join(names)} stream as heat maps."
    )
    if of_target is None:
        return Said(caption, alt, EXPLANATION)
    caption += (
        " The table is of one clip of every annotated test tracklet, frames in which the target is; attention that is "
        "the same everywhere would give the target's share of the area. Attention that knows the middle of a frame and "
        "nothing of the picture gives more than that: the ledger compares with a stream's mean map. A frame is "
        f"occluded if more than {100 * OCCLUDED:.0f}\u00a0% of the target's pixels are hidden by something; the target "
        "is what is visible of it."
    )
    heads = ["Frames", "number", "target's share of the area, %", *(f"{name} attention on it, %" for name in names)]
    rows = []
    for label, part in mean_shares(of_target).items():
        values = [float(part[name].mean()) for name in ("target", *streams(found))]
        if len(part):
            alt += f" {label.capitalize()}: target {', '.join(f'{100 * v:.1f}' for v in values)} % of area, attention."
        cells = [cell(f"{100 * v:.1f}" if len(part) else "—", sort=v if len(part) else None) for v in values]
        rows.append([label, str(len(part)), *cells])
    table = {"title": "Share of attention on the target's visible pixels", "heads": heads, "rows": rows}
    return Said(caption, alt, EXPLANATION, [table])


def _evenness(found: FrameMaps) -> str:
    """Between which values the attention of each stream lies: if it is the same everywhere, it chooses nothing."""
    ends = {stream: np.percentile(found.maps[stream], [5, 95]) for stream in streams(found)}
    words = [f"from {low:.4f} to {high:.4f} ({_name(stream)})" for stream, (low, high) in ends.items()]
    return f"In all tracklets, nine tenths of the cells have attention {' and '.join(words)}."


def measured_on(found: FrameMaps) -> str:
    """Whose maps these are, so that no copy of the picture can pass for another dataset's."""
    about = found.about
    kind = "rendered" if about["rendered"] else "filmed"
    trained = "" if about["train_dataset"] == about["test_dataset"] else f", trained on {about['train_dataset']}"
    run = f"model {about['model']}, seed {about['seed']}, recipe {about['recipe']}"
    return f"{about['test_dataset']} ({kind}){trained}, {run}"


def _check(spec: Spec, found: FrameMaps, path: Path) -> None:
    keys = ("model", "seed", "recipe", "train_dataset", "test_dataset", "rendered")
    if missing := [key for key in keys if key not in found.about]:
        raise InputError(f"{path}: does not say its {missing[0]!r}; write the attention maps again")
    if found.about["model"] != spec["model"]:
        raise InputError(f"{path}: maps of {found.about['model']!r}, but the figure is of {spec['model']!r}")


def _name(stream: str) -> str:
    return STREAMS.get(stream, stream)


def _pictures(root: Path, row: pd.Series, places: pd.DataFrame, most: int) -> list[Image.Image]:
    names = expand_frames(row["frames"])
    return [read_picture(Path(root) / names[frame - 1], most) for frame in places["frame"]]


def heat(picture: Image.Image, values: np.ndarray) -> np.ndarray:
    """Values (h, w) in [0, 1], smoothed to the picture's size, as colours over its grey: (H, W, 3) in [0, 1]."""
    smooth = Image.fromarray(values.astype(np.float32)).resize(picture.size, Image.Resampling.BILINEAR)
    grey = np.asarray(picture.convert("L"), float)[..., None] / 255
    return OVERLAY * COLOURS(np.asarray(smooth))[..., :3] + (1 - OVERLAY) * grey


def strip(pictures: Sequence[np.ndarray], slots: int) -> np.ndarray:
    """Pictures (H, W, 3) in [0, 1] side by side, filled up with nothing to `slots` of them: (H, …, 4)."""
    height = max(picture.shape[0] for picture in pictures)
    width = height // 2
    step = width + max(1, round(GAP * width))
    canvas = np.zeros((height, slots * step - (step - width), 4))
    for place, picture in enumerate(pictures):
        at = canvas[: picture.shape[0], place * step : place * step + picture.shape[1]]
        at[..., :3], at[..., 3] = picture, 1
    return canvas


def _draw(found: FrameMaps, chosen: Sequence[Chosen], pictures: Sequence[list[Image.Image]]) -> Figure:
    """A row a tracklet: its frames, then the heat maps of each stream."""
    slots, names = max(map(len, pictures)), streams(found)
    frame = max(0.32, 2.4 / slots)  # inches
    size = frame * slots * (1 + GAP) * (1 + len(names)) + 0.4, (2 * frame + 0.3) * len(chosen) + 1.1
    figure = Figure(figsize=size, layout="constrained")
    ratios = {"height_ratios": [*[2 * frame] * len(chosen), 0.09]}
    *panels, bars = figure.subplots(len(chosen) + 1, 1 + len(names), squeeze=False, gridspec_kw=ratios)
    scales = _scales(found, chosen)
    for (kind, row, places), shown, line in zip(chosen, pictures, panels):
        _show(line[0], [np.asarray(picture) / 255 for picture in shown], slots)
        line[0].set_title(f"{KINDS[kind]}: person {row['pid']}, camera {row['camid']}")
        for panel, stream in zip(line[1:], names):
            maps = scales[stream](found.maps[stream][places.index])
            _show(panel, [heat(picture, values) for picture, values in zip(shown, maps)], slots)
    bars[0].set_axis_off()
    for top, bar, stream in zip(panels[0][1:], bars[1:], names):
        top.set_title(f"{_name(stream)} stream")
        colours = ScalarMappable(scales[stream], COLOURS)
        scale = figure.colorbar(colours, cax=bar, orientation="horizontal", ticks=MaxNLocator(3), label="attention")
        scale.outline.set_visible(False)
    figure.suptitle(measured_on(found), x=0.01, ha="left", fontsize=8)
    return figure


def _scales(found: FrameMaps, chosen: Sequence[Chosen]) -> dict[str, Normalize]:
    """The scale of each stream: from the least to the greatest attention that is shown."""
    rows = np.concatenate([places.index for *_, places in chosen])
    shown = {stream: found.maps[stream][rows] for stream in streams(found)}
    return {stream: Normalize(values.min(), values.max()) for stream, values in shown.items()}


def _show(panel, pictures: Sequence[np.ndarray], slots: int) -> None:
    panel.imshow(strip(pictures, slots), interpolation="none")
    panel.set_axis_off()
