"""The device that networks run on."""

import pytest
import torch

from vreid import hardware
from vreid.errors import InputError


def test_a_gpu_of_slurm_that_torch_cannot_use_is_an_error_and_not_a_training_on_processors(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(InputError, match=r"SLURM gave this job GPU 1 of .*; exclude the node, or set VREID_DEVICE=cpu"):
        hardware.device()
    monkeypatch.setenv("VREID_DEVICE", "cpu")
    assert hardware.device().type == "cpu"
