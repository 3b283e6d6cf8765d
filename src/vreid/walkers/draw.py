"""How a frame looks: a street, the pedestrians and what hides them, as the camera records it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from vreid.walkers.cameras import SUPERSAMPLING, Camera, camera
from vreid.walkers.canvas import Canvas
from vreid.walkers.figure import Stance
from vreid.walkers.parts import pedestrian
from vreid.walkers.scenes import occlude
from vreid.walkers.script import Script, script
from vreid.walkers.world import Tracklet, World


class Shot(NamedTuple):
    """A frame, the target's own visible pixels, and those that something before it hides (height × width)."""

    image: Image.Image
    target: np.ndarray
    hidden: np.ndarray


def frames(world: World, tracklet: Tracklet) -> Iterator[Image.Image]:
    """The frames of `tracklet` in order, RGB, `world.height` × `world.width`."""
    plan, eye = script(world, tracklet), camera(world, tracklet.camid)
    for i in range(tracklet.num_frames):
        yield taken(world, eye, plan, i, None)[0]


def shot(world: World, tracklet: Tracklet, index: int) -> Shot:
    """Frame `index` (from 0) of `tracklet` drawn again, with its target's masks (all False for pid ≤ 0)."""
    mask = Image.new("L", (world.width * SUPERSAMPLING, world.height * SUPERSAMPLING))
    image, whole = taken(world, camera(world, tracklet.camid), script(world, tracklet), index, mask)
    seen, body = (np.asarray(m.reduce(SUPERSAMPLING)) >= 128 for m in (mask, whole))
    named = tracklet.pid > 0
    return Shot(image, seen & named, body & ~seen & named)


def taken(world: World, eye: Camera, plan: Script, i: int, mask: Image.Image | None):
    """Frame `i` of `plan` as `eye` records it, and what `mask` was before anything hid the target."""
    wide, tall = world.width * SUPERSAMPLING, world.height * SUPERSAMPLING
    left, top = plan.street[0] * (eye.street.width - wide), plan.street[1] * (eye.street.height - tall)
    left = (left + tall * 0.03 * i * np.sin(plan.yaw[i])) % (eye.street.width - wide)
    image = eye.street.crop((int(left), int(top), int(left) + wide, int(top) + tall))
    canvas = Canvas(image, mask)
    x, ground, size = wide / 2 + tall * plan.x[i], tall * (0.94 + plan.y[i]), tall * plan.size[i]
    there, share, yaw = plan.companion
    stance = Stance(x, ground, size, plan.yaw[i], plan.motion[i], plan.phase[i], eye.pitch, eye.light)
    friend = replace(stance, x=x + tall * there, ground=ground + size * (share - 1) * 0.3, size=size * share)
    friend = replace(friend, yaw=yaw, motion="walking", phase=0.9 * plan.phase[i] + 1)
    if plan.beside[i] and share <= 1:
        pedestrian(canvas, plan.other, friend)
    if plan.cast[i]:
        canvas.target = plan.cast[i] == 1
        pedestrian(canvas, plan.target if canvas.target else plan.other, stance)
        canvas.target = False
    whole = mask.copy() if mask else None
    if plan.beside[i] and share > 1:
        pedestrian(canvas, plan.other, friend)
    if plan.occluded[i]:
        kind, there, scale, seed = plan.occluder
        occlude(canvas, kind, wide / 2 + tall * there, tall * 1.02, tall * scale, seed)
    return eye.developed(image.reduce(SUPERSAMPLING), plan.exposure[i], plan.grain[i]), whole
