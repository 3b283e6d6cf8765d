"""The bytes of a JPEG, and its pixels."""

import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

START, END = b"\xff\xd8", b"\xff\xd9"  # the first and the last marker of a JPEG


def decoded(encoded: np.ndarray) -> Tensor:
    """The bytes of a JPEG, uint8 (size,) → its pixels, uint8 (3, h, w); ValueError, saying why, if it is none."""
    try:
        return decode_jpeg(torch.from_numpy(encoded), mode=ImageReadMode.RGB)
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rpartition(", ")[2]  # after the place in torchvision's source
        raise ValueError(f"not a JPEG that can be decoded ({reason})") from None


def fault(frame: bytes) -> str | None:
    """What is wrong with the bytes of a frame, if that shows at its ends: else it is not decoded for this."""
    if not frame:
        return "the frame is empty (0 bytes)"
    if not (frame.startswith(START) and frame.endswith(END)):
        try:
            decoded(np.frombuffer(bytearray(frame), np.uint8))
        except ValueError as error:
            return str(error)
    return None
