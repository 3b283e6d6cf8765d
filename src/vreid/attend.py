"""Tracklets → attention maps: where a network looks, in one clip of every annotated test tracklet."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from vreid import provenance
from vreid.data import clips
from vreid.data.frame_maps import PLACE, FrameMaps, write_frame_maps
from vreid.data.frames import FrameReader
from vreid.data.tracklets import KEY, read_tracklets
from vreid.embed import load_network, test_tracklets, train_record
from vreid.errors import InputError
from vreid.hardware import autocast, device, device_name, to_network
from vreid.progress import Progress
from vreid.spec import Clips, Spec


def attend(
    spec_path: Path,
    weights_path: Path,
    index_path: Path,
    root: Path,
    dataset: str,
    out: Path,
    stored_size: tuple[int, int] | None = None,
    rendered: bool = False,
    workers: int = 0,
) -> None:
    """Write the attention maps of the network (see `frame_maps`), by the names of its streams.

    Raises InputError where the network attends to nothing, or no test tracklet is annotated.
    """
    spec = Spec.load(spec_path)
    torch.set_num_threads(spec.training.threads)
    torch.use_deterministic_algorithms(device().type == "cpu")
    trained = train_record(weights_path.with_name("train.json"), spec)
    rows = annotated(test_tracklets(read_tracklets(index_path), index_path), index_path)
    *_, network = load_network(spec, weights_path, trained)
    reader = FrameReader(root, spec.clips.height, spec.clips.width, stored_size)
    places, maps = attention(network, rows, reader, spec, workers)
    if not maps:
        raise InputError(f"{spec_path}: the network of {spec.model!r} has no attention; name a model that has one")
    about = {
        **trained,
        "model": spec.model,
        "recipe": spec.recipe,
        "test_dataset": dataset,
        "rendered": rendered,
        "attended": {**provenance.here("vreid.attend", f"vreid.models.{spec.method}"), "device": device_name()},
    }
    write_frame_maps(FrameMaps(places, maps, about), out)


def annotated(rows: pd.DataFrame, source: object) -> pd.DataFrame:
    """The tracklets of people that are annotated with occlusion; InputError where there are none."""
    if "occlusion" not in rows or not (known := rows["occlusion"].notna() & (rows["pid"] > 0)).any():
        raise InputError(
            f"{source}: no test tracklet is annotated; join the attributes with `python -m vreid annotate`"
        )
    return rows[known].reset_index(drop=True)


@torch.inference_mode()
def attention(
    network: nn.Module, table: pd.DataFrame, reader: FrameReader, spec: Spec, workers: int = 0
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The frames of one clip of each tracklet, and stream → their attention (N, h, w), in the order of the table.

    A frame that fills up a clip is given once. Without attention there are no maps.
    """
    batches = clips.EmbeddingBatches(table["frames"], reader, spec.clips, middle, 1)
    progress, frames, found = Progress("attend", len(batches)), [], {}
    network.eval()
    for listed, batch in zip(batches.batches, clips.load(batches, workers)):
        with autocast(spec.training.precision):
            outputs = network(to_network(batch.clips))
        frames += [(row, frame) for row, _, clip in listed for frame in clip]
        for stream, maps in outputs.attention.items():
            found.setdefault(stream, []).append(maps.flatten(0, 1).float().cpu().numpy())
        progress.step()
    order, first = np.unique(np.array(frames), axis=0, return_index=True)
    places = table[KEY].iloc[order[:, 0]].assign(frame=order[:, 1] + 1).reset_index(drop=True)[PLACE]
    return places, {stream: np.concatenate(maps)[first] for stream, maps in sorted(found.items())}


def middle(order: np.ndarray, spec: Clips, most: int) -> np.ndarray:
    """The middle one of a tracklet's clips of T successive frames: (1, T); not the last, which may be filled up."""
    cut = clips.dense_clips(order, spec, len(order))
    return cut[(len(cut) - 1) // 2][None]
