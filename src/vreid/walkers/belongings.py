"""What pedestrians carry and ride."""

from math import pi, sqrt

from vreid.walkers.figure import Figure, Joint, turned
from vreid.walkers.looks import toned

BIKE = (52, 56, 62)


def backpack(figure: Figure) -> None:
    look, canvas, size = figure.look, figure.canvas, figure.look.pack_size
    high = figure.shoulder - 0.01
    low = high - 0.235 * size
    x, top = figure.at((0.0, high, figure.forward(high) - 0.115))
    bottom = figure.at((0.0, low, figure.forward(low) - 0.115))[1]
    wide = figure.px(seen(figure, 0.088 * size, 0.055 * size))
    canvas.ellipse(x, top + wide * 0.5, wide * 0.94, wide * 0.62, look.pack_colour)
    canvas.slab(x, top + wide * 0.45, bottom, wide * 0.94, wide, look.pack_colour)
    if figure.cos < 0.3:
        pocket = toned(look.pack_colour, 1.35 if sum(look.pack_colour) < 300 else 0.72)
        lid = bottom - (bottom - top) * 0.42
        canvas.slab(x, lid, bottom - figure.px(0.012), wide * 0.7, wide * 0.7, pocket)


def strap(figure: Figure, top: float) -> None:
    """Of the shoulder bag: over the chest and down the back, from the right shoulder to the left hip."""
    look, shares = figure.look, [i / 6 for i in range(7)]
    for start, end in ((-0.9, 1.4), (2 * pi - 0.9, 1.4)):
        way = [(turned(start + (end - start) * t + figure.stance.yaw), t) for t in shares]
        points = [
            figure.on_trunk(angle, top - 0.01 - (top - figure.hip - 0.02) * t)
            for angle, t in way
            if abs(angle) <= pi / 2
        ]
        if len(points) > 1:
            figure.canvas.line(points, figure.px(0.02), look.bag_colour)


def shoulder_bag(figure: Figure) -> None:
    look, canvas = figure.look, figure.canvas
    x, y = figure.at((0.135 * look.hip, figure.hip - 0.02, -0.02))
    half, tall = figure.px(seen(figure, 0.03, 0.075) + 0.012), figure.px(0.052)
    canvas.slab(x, y - tall, y + tall, half, half * 0.95, look.bag_colour)
    flap = [(x - half, y - tall * 0.2), (x + half, y - tall * 0.2)]
    canvas.line(flap, figure.px(0.012), toned(look.bag_colour, 0.65))


def purse(figure: Figure, hand: Joint) -> None:
    """A hand bag or shopping bag, hanging from the right hand."""
    look, canvas = figure.look, figure.canvas
    x, y = figure.at((hand[0] * 1.05, hand[1], hand[2]))
    half, drop = figure.px(seen(figure, 0.035, 0.062) + 0.01), figure.px(0.05)
    handle = [(x - half * 0.6, y + drop), (x, y), (x + half * 0.6, y + drop)]
    canvas.line(handle, figure.px(0.012), toned(look.purse_colour, 0.7))
    canvas.slab(x, y + drop, y + drop + figure.px(0.095), half * 0.8, half, look.purse_colour)


def bicycle(figure: Figure) -> None:
    """Two wheels and a frame along the way the rider goes; no part of the person."""
    canvas, paint = figure.canvas, toned(figure.look.trim, 0.8)
    mine, canvas.target = canvas.target, False
    for forward in (-0.24, 0.26):
        x, y = figure.at((0.0, 0.13, forward))
        wide = figure.px(0.13 * abs(figure.sin) + 0.016)
        canvas.ring(x, y, wide, figure.px(0.13), figure.px(0.018), BIKE)
    saddle, pedal, stem = (0.0, 0.46, -0.06), (0.0, 0.16, 0.02), (0.0, 0.55, 0.2)
    rear, fork = (0.0, 0.13, -0.24), (0.0, 0.13, 0.26)
    for tube in ((saddle, pedal), (pedal, stem), (saddle, stem), (rear, saddle), (stem, fork)):
        canvas.line([figure.at(end) for end in tube], figure.px(0.02), paint)
    handlebar = [figure.at((side * 0.13, 0.57, 0.24)) for side in (-1, 1)]
    canvas.line(handlebar, figure.px(0.02), BIKE)
    canvas.target = mine


def seen(figure: Figure, across: float, deep: float) -> float:
    """Half the width on screen of something `across` and `deep` in half widths, turned as the body is."""
    return sqrt((across * figure.cos) ** 2 + (deep * figure.sin) ** 2)
