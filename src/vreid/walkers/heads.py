"""Heads: face, hair and hat."""

from math import cos, pi, sin

from vreid.walkers.figure import Figure, turned
from vreid.walkers.looks import toned


def head(figure: Figure) -> None:
    look, canvas, facing = figure.look, figure.canvas, figure.cos
    tall, wide = 0.074 * look.head, 0.058 * look.head
    x, y = figure.at((0.0, 1 - tall, figure.forward(1.0) + 0.02))
    rx, ry = figure.px(wide + 0.008 * abs(figure.sin)), figure.px(tall)
    canvas.ellipse(x, y, rx, ry, look.hair)
    if facing > -0.4:
        share, brow = min(1.0, (facing + 0.5) / 1.3), figure.px(0.018 + 0.018 * look.hair_cut)
        face = x + 0.52 * rx * figure.sin
        canvas.ellipse(face, y + brow, rx * (0.42 + 0.5 * share), ry - brow * 0.9, look.skin)
        for eye in (-0.45, 0.45):
            seen = turned(eye + figure.stance.yaw)
            if abs(seen) < 1.4:
                at = x + rx * sin(seen) * 0.9
                canvas.ellipse(at, y + brow * 0.6, rx * 0.13, ry * 0.11, (40, 32, 30))
        if look.long_hair and facing > 0.2:
            for side in (-1, 1):
                canvas.ellipse(x + side * rx * 0.95, y + ry * 0.35, rx * 0.25, ry * 0.75, look.hair)
    if look.hat:
        hat(figure, x, y, rx, ry)


def mane(figure: Figure) -> None:
    """Long hair: loose over the shoulders, or a pony tail."""
    look, top = figure.look, 1 - 0.06 * figure.look.head
    tail = look.hair_cut > 0.6
    behind = figure.forward(1.0) - (0.065 if tail else 0.02)
    end = (0.0, figure.shoulder - (0.08 if tail else 0.055), behind - 0.01)
    wide = figure.px(0.045 if tail else 0.116 * look.head * (0.9 + 0.1 * abs(figure.cos)))
    thin = wide * (0.7 if tail else 0.95)
    figure.canvas.limb(figure.at((0.0, top, behind)), figure.at(end), wide, thin, toned(look.hair, 0.92))


def hat(figure: Figure, x: float, y: float, rx: float, ry: float) -> None:
    """A cap, a hat with a brim or a beanie, on the head at `x`, `y` with half axes `rx`, `ry` (pixels)."""
    look, canvas, dark = figure.look, figure.canvas, toned(figure.look.hat_colour, 0.72)
    arc, edge = [pi + pi * t / 8 for t in range(9)], y - ry * 0.32
    dome = [(x + rx * 1.12 * cos(angle), y - ry * 0.30 + ry * 0.86 * sin(angle)) for angle in arc]
    canvas.polygon(dome, look.hat_colour)
    if look.hat == "cap" and figure.cos > -0.5:
        reach, drop = 1.75 * rx * figure.sin, ry * 0.16 * max(0.0, figure.cos)
        wide = max(rx * 0.9, abs(reach) * 0.62)
        canvas.ellipse(x + reach / 2, edge + drop, wide, ry * 0.14 + drop, dark)
    elif look.hat == "brim":
        canvas.ellipse(x, edge, rx * 1.75, ry * 0.2, dark)
    elif look.hat == "beanie":
        canvas.slab(x, edge - ry * 0.14, edge + ry * 0.12, rx * 1.1, rx * 1.05, dark)
        canvas.ellipse(x, y - ry * 1.15, rx * 0.28, ry * 0.2, look.accent)
