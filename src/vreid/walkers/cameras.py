"""How a camera sees: its street, its colours, its sharpness, its height above the ground."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from vreid.walkers.scenes import panorama
from vreid.walkers.world import World, generator

SUPERSAMPLING = 3  # shapes are drawn this much larger, then averaged, so that their edges are soft
GRAIN = 160  # side of the field of noise that every frame takes a piece of
MOOD = {"mars": (1.08, 1.04), "duke": (0.72, 0.86)}  # saturation and exposure: summer noon, winter afternoon


@dataclass(frozen=True, eq=False)
class Camera:
    """matrix: RGB → RGB (3 × 4, Pillow's).   blur: radius in pixels.   pitch: how steeply it looks down.
    light: +1 from the left, -1 from the right.   rightward: share of the people who cross to the right.
    """

    street: Image.Image
    matrix: tuple[float, ...]
    blur: float
    grain: np.ndarray
    pitch: float
    light: float
    rightward: float

    def developed(self, image: Image.Image, exposure: float, at: tuple[int, int]) -> Image.Image:
        """The frame as this camera records it; the noise is the piece of its grain that begins `at`."""
        if self.blur > 0.15:
            image = image.filter(ImageFilter.GaussianBlur(self.blur))
        image = image.convert("RGB", tuple(exposure * weight for weight in self.matrix))
        y, x = at
        noise = self.grain[y : y + image.height, x : x + image.width]
        return Image.fromarray(np.clip(np.asarray(image, np.int16) + noise, 0, 255).astype(np.uint8))


@lru_cache(maxsize=32)
def camera(world: World, camid: int) -> Camera:
    """Camera `camid` of `world`; `camera_strength` scales all in which cameras differ but the street."""
    rng, strength = generator(world, 1, camid), world.camera_strength
    saturation, exposure = MOOD[world.layout]
    saturation *= np.exp(rng.normal(0, 0.14) * strength)
    cast = np.exp(rng.normal(0, 0.06, 3) * strength + rng.normal(0, 0.11) * strength) * exposure
    gray = np.tile([0.299, 0.587, 0.114], (3, 1))
    mixing = cast[:, None] * (saturation * np.eye(3) + (1 - saturation) * gray)
    haze = abs(rng.normal(0, 7)) * strength
    blur, noise = rng.uniform(0.1, 0.75) * min(strength, 2), rng.uniform(1.5, 5.0) * strength
    grain = rng.normal(0, noise, (GRAIN + world.height, GRAIN + world.width, 3)).round().astype(np.int16)
    pitch, light = rng.uniform(0.0, 0.28) * min(strength, 1.5), float(rng.choice([-1, 1]))
    size = (world.width * SUPERSAMPLING, world.height * SUPERSAMPLING)
    return Camera(
        street=panorama(world.layout, camid, size, rng),
        matrix=tuple(np.column_stack([mixing, np.full(3, haze)]).ravel().tolist()),
        blur=blur * world.height / 64,
        grain=grain,
        pitch=pitch,
        light=light,
        rightward=rng.uniform(0.2, 0.8),
    )
