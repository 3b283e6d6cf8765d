"""Where there are GPUs, as far as can be seen without torch."""

import os
import shutil
import subprocess

from vreid.experiment.cluster import said_by


def gpu_is_visible() -> bool:
    """Whether jobs see a GPU here: as CUDA_VISIBLE_DEVICES says, or else the driver, which a login node may lack."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return bool(visible.strip()) and not visible.strip().startswith("-")
    if not shutil.which("nvidia-smi"):
        return False
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout.startswith("GPU ")


def jobs_are_submitted() -> bool:
    """Whether this machine is one of a cluster (SLURM), whose nodes have the GPUs."""
    return bool(shutil.which("sbatch"))


def cluster_has_gpus() -> bool:
    """Whether any node that jobs can be submitted to has GPUs; True too where SLURM does not answer."""
    said = said_by("sinfo", "-h", "-o", "%G")
    return jobs_are_submitted() and (not said or "gpu" in said)
