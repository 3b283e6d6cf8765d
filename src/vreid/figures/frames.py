"""Frames as pictures in a figure, small enough for the page that carries it."""

from pathlib import Path

from PIL import Image

from vreid.errors import InputError

PIXELS = 250_000  # of all pictures together, which keeps the SVG below a megabyte


def height_of(count: int) -> int:
    """The most pixels that each of `count` frames, twice as high as wide, may be high."""
    return int((2 * PIXELS / count) ** 0.5)


def read_picture(path: Path, most: int) -> Image.Image:
    """A frame, at most `most` pixels high and half as wide as high, whatever its own proportions."""
    try:
        with Image.open(path) as image:
            height = min(image.height, most)
            return image.convert("RGB").resize((max(1, height // 2), height), Image.Resampling.LANCZOS)
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path}: cannot be shown ({error}); is this the root of the index?") from None
