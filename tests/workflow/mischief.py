"""Put on the path as `sitecustomize`: what befalls a training, told by the environment. The code stays as it is.

PAUSE is how many seconds every step takes longer; SAVE_ONLY_WHEN_TOLD keeps it from saving at other times; FAIL_ONCE
names a file that the first training to take three steps makes and then fails; FAIL is how the label of work begins
that fails at its third step.
"""

import os
import sys
import time
from pathlib import Path

from vreid.errors import InputError
from vreid.progress import Progress

step = Progress.step


def troubled(self: Progress, count: int = 1, note: str = "") -> None:
    step(self, count, note)
    if self.label.startswith("train "):
        time.sleep(float(os.environ.get("PAUSE", "0")))
        if "SAVE_ONLY_WHEN_TOLD" in os.environ:
            training = sys.modules["vreid.train"]
            training.CHECKPOINT_SECONDS = training.MIDWAY_SECONDS = float("inf")
        if "FAIL" in os.environ and self.done >= 3 and self.label.startswith(os.environ["FAIL"]):
            raise InputError("made to fail")
        flag = os.environ.get("FAIL_ONCE")
        if flag and self.done >= 3 and not Path(flag).exists():
            Path(flag).touch()
            raise InputError("made to fail")


Progress.step = troubled
