"""Frames → region scores: how alike a region is to the same region in the rest of its tracklet."""

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vreid import provenance
from vreid.completion.scorer import Scorer
from vreid.data.clips import load
from vreid.data.frames import FrameReader
from vreid.data.regions import frame_spans, region_table, write_regions
from vreid.data.tracklets import KEY, expand_frames, read_tracklets
from vreid.errors import InputError
from vreid.files import written_whole
from vreid.hardware import device, device_name
from vreid.models.vrstc.regions import Options, Threshold, region_features, region_scores, threshold
from vreid.progress import Progress
from vreid.spec import build

FRAMES = 256  # through the trunk at once


class WholeTracklets(Dataset):
    """Item i is the frames (uint8) of a few whole tracklets: of as many as fill FRAMES, or of one that is longer."""

    def __init__(self, table: pd.DataFrame, reader: FrameReader):
        self.templates, self.reader = table["frames"].tolist(), reader
        begins = (np.cumsum(table["num_frames"]) - table["num_frames"]).to_numpy() // FRAMES
        self.chunks = np.split(np.arange(len(table)), np.flatnonzero(np.diff(begins)) + 1)

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, chunk: int) -> Tensor:
        return self.reader([name for row in self.chunks[chunk] for name in expand_frames(self.templates[row])])


@torch.inference_mode()
def scores(scorer: Scorer, table: pd.DataFrame, reader: FrameReader, regions: int, workers: int) -> np.ndarray:
    """Scores (frames, regions) of all frames of `table`, stacked in its order."""
    batches, lengths = WholeTracklets(table, reader), table["num_frames"].to_numpy()
    progress, found = Progress("score regions", len(table)), []
    for rows, frames in zip(batches.chunks, load(batches, workers)):
        features = torch.cat([region_features(scorer.maps(part), regions) for part in frames.split(FRAMES)])
        if len(features) != lengths[rows].sum():
            raise InputError(f"tracklet {table['frames'].iloc[rows[0]]}: num_frames is not the number of its frames")
        found += [region_scores(features[span]).cpu() for span in frame_spans(lengths[rows])]
        progress.step(len(rows))
    return torch.cat(found).numpy().astype(np.float64).round(6)


def score_regions(
    spec_path: Path,
    weights_path: Path,
    index_path: Path,
    root: Path,
    dataset: str,
    options: Mapping[str, Any],
    out: Path,
    stored_size: tuple[int, int] | None = None,
    workers: int = 0,
) -> None:
    """Score the regions of every tracklet, and write regions.csv.gz and regions.json into the folder `out`.

    The threshold is chosen on the training split, and holds for all.
    """
    began = time.monotonic()
    chosen = build(Options, options, "scoring")
    scorer = Scorer(spec_path, weights_path)
    torch.set_num_threads(scorer.spec.training.threads)
    torch.use_deterministic_algorithms(device().type == "cpu")
    table = read_tracklets(index_path)
    training = np.repeat((table["split"] == "train").to_numpy(), table["num_frames"])
    if not training.any():
        raise InputError(f"{index_path}: no tracklet of the split `train`; the threshold is chosen on it")
    found = scores(scorer, table, FrameReader(root, *scorer.size, stored_size), chosen.regions, workers)
    limit = threshold(found[training], chosen)
    occluded = found < limit.tau
    keys, lengths = table[KEY].to_numpy(), table["num_frames"].to_numpy()
    values = {"score": found, "occluded": occluded.astype(np.int64)}
    write_regions(region_table(keys, lengths, values), out / "regions.csv.gz")
    record = {
        "dataset": dataset,
        "regions": chosen.regions,
        "options": dataclasses.asdict(chosen),
        **summary(table, occluded, limit),
        "scorer": {"model": scorer.spec.model, "seed": scorer.spec.seed, "spec_digest": scorer.spec.digest},
        **provenance.here("vreid.completion.score", f"vreid.models.{scorer.spec.method}"),
        "device": device_name(),
        "seconds": round(time.monotonic() - began, 2),
    }
    with written_whole(out / "regions.json") as aside:
        aside.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def summary(table: pd.DataFrame, occluded: np.ndarray, limit: Threshold) -> dict[str, Any]:
    """The threshold and why it is so; the share of regions, frames and tracklets found occluded, by split."""
    lengths = table["num_frames"].to_numpy()
    split, frames = np.repeat(table["split"].to_numpy(), lengths), occluded.any(1)
    tracklets = np.array([frames[span].any() for span in frame_spans(lengths)])
    unclean = np.array([frames[span].all() for span in frame_spans(lengths)])
    shares = {
        name: {
            "regions": round(float(occluded[split == name].mean()), 4),
            "frames": round(float(frames[split == name].mean()), 4),
            "tracklets": round(float(tracklets[table["split"] == name].mean()), 4),
            "tracklets_without_an_unoccluded_frame": int(unclean[table["split"] == name].sum()),
        }
        for name in table["split"].unique()
    }
    chosen = {"tau": limit.tau, "why": limit.why, "share_on_train": round(limit.share, 4)}
    return {**chosen, "share_found_occluded": round(float(occluded.mean()), 4), "splits": shares}
