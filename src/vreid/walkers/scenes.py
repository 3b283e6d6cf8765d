"""What stands behind and before the pedestrians: each camera's street, and the things that hide people."""

import numpy as np
from PIL import Image, ImageDraw

from vreid.walkers.canvas import Canvas, Colour
from vreid.walkers.looks import toned

CARS = (
    (226, 226, 224),
    (164, 168, 174),
    (44, 46, 52),
    (128, 36, 38),
    (42, 62, 104),
    (176, 150, 96),
    (70, 92, 84),
)
WIDE, TALL = 6, 1.25  # a panorama in frame widths and heights

# ground colour and texture, wall colour and texture, what stands about: one row a camera
SCENES = {
    "mars": [
        ((178, 172, 160), "tiles", (122, 150, 96), "hedge", "tree lamp"),
        ((150, 156, 150), "plain", (176, 120, 92), "bricks", "bikes lamp"),
        ((128, 158, 104), "grass", (196, 206, 214), "windows", "tree bench"),
        ((196, 186, 168), "slabs", (150, 176, 198), "windows", "lamp bench"),
        ((140, 136, 134), "lanes", (116, 142, 100), "hedge", "car tree"),
        ((186, 178, 174), "tiles", (206, 190, 150), "shops", "bikes bench"),
    ],
    "duke": [
        ((108, 110, 116), "lanes", (142, 140, 142), "stones", "car lamp"),
        ((138, 136, 134), "slabs", (112, 92, 84), "bricks", "bench"),
        ((118, 120, 124), "plain", (92, 100, 108), "windows", "car"),
        ((158, 160, 166), "tiles", (128, 128, 136), "stones", "lamp bikes"),
        ((124, 118, 112), "slabs", (98, 92, 88), "fence", "tree car"),
        ((170, 174, 180), "plain", (146, 152, 162), "windows", "lamp bench"),
        ((104, 104, 104), "lanes", (120, 108, 100), "bricks", "car bikes"),
        ((146, 142, 136), "slabs", (104, 110, 104), "hedge", "tree lamp"),
    ],
}


def panorama(layout: str, camid: int, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """The street before camera `camid`: `WIDE` × `TALL` frames of `size` (width, height) pixels."""
    ground, floor, wall, face, things = SCENES[layout][camid - 1]
    width, height = round(size[0] * WIDE), round(size[1] * TALL)
    image = Image.new("RGB", (width, height), ground)
    ink, horizon, unit = ImageDraw.Draw(image), round(height * rng.uniform(0.5, 0.68)), size[1] / 64
    ink.rectangle((0, 0, width, horizon), fill=wall)
    facade(ink, face, wall, width, horizon, unit, rng)
    pavement(ink, floor, ground, width, horizon, height, unit, rng)
    canvas = Canvas(image)
    for thing in things.split() * 3:
        x, scale = rng.uniform(0, width), size[1] * rng.uniform(0.5, 0.9)
        THINGS[thing](canvas, x, horizon + scale * 0.12, scale, rng)
    grain = rng.normal(0, 5, (height // 2 + 1, width // 2 + 1, 1)).repeat(2, 0).repeat(2, 1)[:height, :width]
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def facade(ink: ImageDraw.ImageDraw, face: str, wall: Colour, width: int, horizon: int, unit: float, rng) -> None:
    dark, bright = toned(wall, 0.8), toned(wall, 1.15)
    if face in ("bricks", "stones"):
        tall, long = (3 * unit, 8 * unit) if face == "bricks" else (7 * unit, 12 * unit)
        for row in range(int(horizon / tall) + 1):
            y = row * tall
            ink.line((0, y, width, y), fill=dark, width=max(1, int(unit * 0.6)))
            for x in np.arange(row % 2 * long / 2, width, long):
                ink.line((x, y, x, y + tall), fill=dark, width=max(1, int(unit * 0.6)))
    elif face in ("windows", "shops"):
        high = horizon * (0.62 if face == "windows" else 0.82)
        for x in np.arange(rng.uniform(0, 8) * unit, width, 17 * unit):
            glass = (int(rng.uniform(50, 100)), int(rng.uniform(60, 120)), int(rng.uniform(80, 145)))
            sign = toned(CARS[rng.integers(len(CARS))], rng.uniform(0.8, 1.2))
            ink.rectangle((x, horizon - high, x + 11 * unit, horizon - high * 0.15), fill=glass, outline=bright)
            if face == "shops":
                ink.rectangle((x - unit, horizon - high - 5 * unit, x + 12 * unit, horizon - high), fill=sign)
    elif face == "fence":
        for x in np.arange(0, width, 4 * unit):
            ink.line((x, horizon * 0.35, x, horizon), fill=dark, width=max(1, int(unit)))
        ink.line((0, horizon * 0.4, width, horizon * 0.4), fill=dark, width=max(1, int(unit)))
    else:
        for _ in range(260):
            x, y, r = rng.uniform(0, width), rng.uniform(horizon * 0.2, horizon), rng.uniform(2, 5) * unit
            ink.ellipse((x - r, y - r, x + r, y + r), fill=toned(wall, rng.uniform(0.7, 1.15)))
        ink.rectangle((0, 0, width, horizon * 0.2), fill=(188, 204, 220))


def pavement(ink, floor: str, ground: Colour, width: int, horizon: int, height: int, unit: float, rng) -> None:
    dark, bright = toned(ground, 0.86), toned(ground, 1.25)
    if floor in ("tiles", "slabs"):
        step = (6 if floor == "tiles" else 13) * unit
        y, gap = float(horizon), step * 0.35
        while y < height:
            ink.line((0, y, width, y), fill=dark)
            y, gap = y + gap, gap * 1.25
        for x in np.arange(-width, 2 * width, step):
            ink.line((x, horizon, x + (x - width / 2) * 0.12, height), fill=dark)
    elif floor == "lanes":
        middle = (horizon + height) / 2
        for x in np.arange(0, width, 30 * unit):
            ink.rectangle((x, middle, x + 16 * unit, middle + 2 * unit), fill=bright)
        ink.line((0, horizon, width, horizon), fill=bright, width=max(1, int(2 * unit)))
    elif floor == "grass":
        for _ in range(500):
            x, y = rng.uniform(0, width), rng.uniform(horizon, height)
            ink.line((x, y, x + unit, y - 2 * unit), fill=toned(ground, rng.uniform(0.75, 1.2)))


def tree(canvas: Canvas, x: float, ground: float, size: float, rng: np.random.Generator) -> None:
    canvas.limb((x, ground), (x, ground - size * 0.7), size * 0.1, size * 0.07, (84, 66, 50))
    for _ in range(9):
        dx, dy = rng.normal(0, size * 0.17), rng.normal(0, size * 0.12)
        leaf = toned((84, 120, 62), rng.uniform(0.7, 1.2))
        canvas.ellipse(x + dx, ground - size * 0.85 + dy, size * 0.16, size * 0.14, leaf)


def lamp(canvas: Canvas, x: float, ground: float, size: float, rng: np.random.Generator) -> None:
    canvas.limb((x, ground), (x, ground - size * 1.3), size * 0.07, size * 0.06, (70, 74, 80))
    canvas.ellipse(x, ground, size * 0.07, size * 0.03, (56, 60, 64))


def bench(canvas: Canvas, x: float, ground: float, size: float, rng: np.random.Generator) -> None:
    wood = toned((132, 96, 60), rng.uniform(0.8, 1.2))
    for y, tall in ((0.3, 0.09), (0.16, 0.07)):
        box(canvas, x - size * 0.45, ground - size * y, x + size * 0.45, ground - size * (y - tall), wood)
    for dx in (-0.36, 0.36):
        canvas.line([(x + size * dx, ground - size * 0.16), (x + size * dx, ground)], size * 0.04, (60, 60, 60))


def car(canvas: Canvas, x: float, ground: float, size: float, rng: np.random.Generator) -> None:
    paint = toned(CARS[rng.integers(len(CARS))], rng.uniform(0.85, 1.1))
    box(canvas, x - size * 0.75, ground - size * 0.34, x + size * 0.75, ground - size * 0.07, paint)
    cabin = [(-0.5, 0.33), (-0.32, 0.52), (0.3, 0.52), (0.5, 0.33)]
    canvas.polygon([(x + size * a, ground - size * b) for a, b in cabin], toned(paint, 0.6))
    for dx in (-0.42, 0.42):
        canvas.ellipse(x + size * dx, ground - size * 0.08, size * 0.12, size * 0.12, (34, 34, 36))


def bikes(canvas: Canvas, x: float, ground: float, size: float, rng: np.random.Generator) -> None:
    paint = tuple(int(c) for c in rng.uniform(40, 200, 3))
    for dx in (-0.24, 0.24):
        canvas.ring(x + size * dx, ground - size * 0.15, size * 0.15, size * 0.15, size * 0.025, (44, 46, 50))
    frame = [(-0.24, 0.15), (-0.08, 0.38), (0.18, 0.36), (0.24, 0.15), (0.0, 0.15), (-0.08, 0.42)]
    canvas.line([(x + size * a, ground - size * b) for a, b in frame], size * 0.03, paint)


def bush(canvas: Canvas, x: float, ground: float, size: float, rng: np.random.Generator) -> None:
    for k in range(12):
        dx, dy = rng.normal(0, size * 0.16), -size * (0.04 + 0.4 * k / 12)
        leaf = toned((74, 112, 58), rng.uniform(0.7, 1.25))
        canvas.ellipse(x + dx, ground + dy, size * 0.14, size * 0.12, leaf)


def sign(canvas: Canvas, x: float, ground: float, size: float, rng: np.random.Generator) -> None:
    paint = toned(CARS[rng.integers(len(CARS))], rng.uniform(0.8, 1.2))
    canvas.line([(x, ground), (x, ground - size * 0.5)], size * 0.05, (80, 80, 84))
    box(canvas, x - size * 0.19, ground - size * 0.78, x + size * 0.19, ground - size * 0.42, paint)


def box(canvas: Canvas, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
    canvas.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)


THINGS = {"tree": tree, "lamp": lamp, "bench": bench, "car": car, "bikes": bikes}
OCCLUDERS = (tree, bush, car, sign, bush, car)


def occlude(canvas: Canvas, kind: int, x: float, ground: float, size: float, seed: int) -> None:
    """Something between camera and target; the same `seed` draws the same thing in every frame."""
    OCCLUDERS[kind % len(OCCLUDERS)](canvas, x, ground, size, np.random.default_rng(seed))
