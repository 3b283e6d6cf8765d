"""The parts of a pedestrian's body and clothes, and the order in which they hide each other."""

from itertools import pairwise
from math import cos, pi

from vreid.walkers.belongings import backpack, bicycle, purse, shoulder_bag, strap
from vreid.walkers.canvas import Canvas, Colour
from vreid.walkers.figure import Figure, Joint, Stance, arms, shaded, turned
from vreid.walkers.heads import head, mane
from vreid.walkers.looks import Look, toned


def pedestrian(canvas: Canvas, look: Look, stance: Stance) -> None:
    """Draw one person; what is nearer to the viewer covers what is farther."""
    figure, facing = Figure(canvas, look, stance), cos(stance.yaw)
    limbs = arms(figure)
    parts = [(0.0, torso, ()), (0.012 * facing + 0.03, head, ())]
    parts += [(figure.depth(*joints) - 1.0, leg, joints) for joints in figure.legs]  # under skirt and coat
    parts += [(figure.depth(*joints), arm, joints) for joints in limbs]
    if look.skirt:
        parts.append((-0.52, bell, (look.hem, look.bottom)))
    if look.coat:
        parts.append((-0.50, bell, (0.36, look.top)))
    if look.long_hair:
        parts.append((0.005 - 0.05 * facing, mane, ()))
    if look.backpack:
        parts.append((-0.13 * facing, backpack, ()))
    if look.bag:
        parts.append((0.02 - 0.14 * figure.sin, shoulder_bag, ()))
    if look.purse:
        parts.append((figure.depth(limbs[1][2]) + 0.03, purse, limbs[1][2:]))
    canvas.shadow(stance.x, stance.ground, figure.px(0.2), figure.px(0.035), 70)
    if stance.motion == "riding":
        bicycle(figure)
    for _, part, details in sorted(parts, key=lambda part: part[0]):
        part(figure, *details)


def leg(figure: Figure, hip: Joint, knee: Joint, ankle: Joint) -> None:
    look, canvas = figure.look, figure.canvas
    depth = figure.depth(hip, knee, ankle)
    wide, thin = figure.px(0.082 * look.build * look.hip), figure.px(0.062 * look.build)
    a, b, c = figure.at(hip), figure.at(knee), figure.at(ankle)
    skin, cloth = shaded(look.skin, depth), shaded(look.bottom, depth)
    if look.hem < 0.2 and not look.skirt:
        canvas.limb(b, c, thin, thin * 0.85, cloth)
    else:
        canvas.limb(b, c, thin * 0.85, thin * 0.6, skin)
    if look.skirt:
        canvas.limb(a, b, wide * 0.8, thin * 0.85, skin)
    else:
        canvas.limb(a, b, wide, thin * 1.05, cloth)
        trouser_weave(figure, [a, b, c] if look.hem < 0.2 else [a, b], shaded(look.trim, depth))
    shoe(figure, knee, ankle, depth)


def trouser_weave(figure: Figure, way: list, colour: Colour) -> None:
    """A stripe down the leg, or patches of another colour along it."""
    if figure.look.bottom_weave == "stripe":
        figure.canvas.line(way, figure.px(0.018), colour)
    elif figure.look.bottom_weave == "checks":
        for (ax, ay), (bx, by) in pairwise(way):
            for share in (0.3, 0.62, 0.92):
                x, y = ax + (bx - ax) * share, ay + (by - ay) * share
                figure.canvas.ellipse(x, y, figure.px(0.026), figure.px(0.02), colour)


def shoe(figure: Figure, knee: Joint, ankle: Joint, depth: float) -> None:
    look, canvas = figure.look, figure.canvas
    colour = shaded(look.shoe, depth)
    if look.boots:
        shaft = figure.at(tuple(ankle[i] + 0.66 * (knee[i] - ankle[i]) for i in range(3)))
        canvas.limb(shaft, figure.at(ankle), figure.px(0.078), figure.px(0.066), colour)
    heel = figure.at((ankle[0], ankle[1] - 0.025, ankle[2] - 0.02))
    toe = figure.at((ankle[0] * 1.15, ankle[1] - 0.03, ankle[2] + 0.085))
    canvas.limb(heel, toe, figure.px(0.054), figure.px(0.044), colour)
    sole = [(x, y + figure.px(0.02)) for x, y in (heel, toe)]
    canvas.line(sole, figure.px(0.014), shaded(look.sole, depth))


def arm(figure: Figure, shoulder: Joint, elbow: Joint, hand: Joint) -> None:
    look, canvas = figure.look, figure.canvas
    depth = figure.depth(shoulder, elbow, hand)
    cloth, skin = toned(shaded(look.top, depth), 0.9), shaded(look.skin, depth)  # stands off from the trunk
    a, b, c = figure.at(shoulder), figure.at(elbow), figure.at(hand)
    wide, thin = figure.px(0.060 * look.build), figure.px(0.046 * look.build)
    if look.sleeve > 0.6:
        canvas.limb(b, c, thin * 1.05, thin * 0.9, cloth)
        canvas.limb(a, b, wide, thin * 1.05, cloth)
        canvas.ellipse(*c, thin * 0.5, thin * 0.55, skin)
        return
    canvas.limb(b, c, thin * 0.8, thin * 0.62, skin)
    canvas.limb(a, b, wide * 0.8, thin * 0.8, skin)
    share = look.sleeve * 2
    cuff = (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share)
    canvas.limb(a, cuff, wide, wide * 0.94, cloth)
    if look.weave == "yoke":
        canvas.ellipse(*cuff, wide * 0.47, wide * 0.3, shaded(look.accent, depth))


def torso(figure: Figure) -> None:
    look, canvas = figure.look, figure.canvas
    top, hem, neck = figure.shoulder + 0.008, figure.hip - 0.03, figure.forward(1.0)
    nape, throat = figure.at((0, figure.chin + 0.02, neck)), figure.at((0, top - 0.01, neck))
    canvas.limb(nape, throat, figure.px(0.055), figure.px(0.055), look.skin)
    if not (look.skirt or look.coat):
        seat = [(-1, 0.03), (1, 0.03), (1, -0.05), (-1, -0.05)]
        canvas.polygon([figure.on_trunk(side * pi / 2, figure.hip + h) for side, h in seat], look.bottom)
    heights = [row[0] for row in figure.widths]
    canvas.polygon(strip(figure, -pi / 2, pi / 2, heights), look.top)
    weave(figure, top, top - hem)
    side = figure.stance.light
    canvas.polygon(strip(figure, side * 0.95, side * pi / 2, heights[1:]), toned(look.top, 0.82))
    front(figure, top, top - hem)
    back(figure, top, top - hem)
    if look.bag:
        strap(figure, top)


def strip(figure: Figure, left: float, right: float, heights: list[float]) -> list:
    return [figure.on_trunk(left, h) for h in heights] + [figure.on_trunk(right, h) for h in reversed(heights)]


def weave(figure: Figure, top: float, span: float) -> None:
    """What is all round: stripes, checks or a yoke."""
    look = figure.look
    if look.weave in ("stripes", "checks"):
        for k in range(4):
            high = top - span * (0.16 + 0.22 * k)
            figure.patch(-pi, pi, high, high - span * 0.10, look.accent)
    if look.weave == "checks":
        for k in range(-3, 4):
            figure.patch(k * pi / 4 - 0.14, k * pi / 4 + 0.14, top - 0.03, top - span, look.trim)
    if look.weave == "yoke":
        figure.patch(-pi, pi, top - 0.01, top - span * 0.30, look.accent)


def front(figure: Figure, top: float, span: float) -> None:
    """What only those see who meet the person: a print, an open jacket, buttons, the straps of a backpack."""
    look, colour = figure.look, figure.look.accent
    if look.front == "open":
        figure.patch(-0.42, 0.42, top, top - span, colour)
    elif look.front == "buttons":
        figure.patch(-0.1, 0.1, top, top - span, look.trim)
    elif look.front == "bar":
        figure.patch(-0.9, 0.9, top - span * 0.30, top - span * 0.48, colour)
    elif look.front == "tall":
        figure.patch(-0.35, 0.35, top - span * 0.18, top - span * 0.80, colour)
    elif look.front == "square":
        figure.patch(-0.65, 0.65, top - span * 0.22, top - span * 0.62, colour)
        figure.patch(-0.3, 0.3, top - span * 0.34, top - span * 0.50, look.trim)
    elif look.front == "disc":
        disc(figure, 0.0, top - span * 0.38, colour)
    figure.patch(-0.35, 0.35, top + 0.004, top - 0.03, look.skin)
    if look.backpack:
        for side in (-0.85, 0.85):
            figure.patch(side - 0.17, side + 0.17, top, top - span * 0.62, look.pack_colour)


def back(figure: Figure, top: float, span: float) -> None:
    look = figure.look
    if look.back == "bar":
        figure.patch(pi - 0.9, pi + 0.9, top - span * 0.22, top - span * 0.36, look.trim)
    elif look.back == "disc":
        disc(figure, pi, top - span * 0.4, look.trim)


def disc(figure: Figure, angle: float, height: float, colour: Colour) -> None:
    seen = turned(angle + figure.stance.yaw)
    if abs(seen) < 1.3:
        x, y = figure.on_trunk(seen, height)
        figure.canvas.ellipse(x, y, figure.px(0.058) * cos(seen), figure.px(0.055), colour)


def bell(figure: Figure, hem: float, colour: Colour) -> None:
    """A skirt or the tails of a coat: from the waist to the hem, as wide as the stride."""
    look, canvas = figure.look, figure.canvas
    knees = [figure.at(joints[1])[0] for joints in figure.legs]
    left, right = (figure.on_trunk(side * pi / 2, figure.hip + 0.04) for side in (-1, 1))
    flare, low = figure.px(0.04), figure.at((0, hem, 0))[1]
    out, end = min(left[0], *knees) - flare, max(right[0], *knees) + flare
    canvas.polygon([left, right, (end, low), (out, low)], colour)
    shade = [right, (end, low), (end - 0.3 * (end - out), low)]
    if figure.stance.light < 0:
        shade = [left, (out, low), (out + 0.3 * (end - out), low)]
    canvas.polygon(shade, toned(colour, 0.84))
    if look.bottom_weave != "plain" and colour is look.bottom:
        half = (end - out) / 2
        canvas.slab((out + end) / 2, low - figure.px(0.03), low, half, half, look.trim)
