"""A walking pedestrian, drawn as a body of thick limbs around a turned trunk.

Body coordinates: lateral (to the person's left), height (0 ground, 1 crown) and forward, in body heights.
A view turned by `yaw` shows them at x = lateral·cos + forward·sin; what is nearer is drawn later.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, sin, sqrt

from vreid.walkers.canvas import Canvas, Colour, Point
from vreid.walkers.looks import Look, toned

Joint = tuple[float, float, float]


@dataclass(frozen=True)
class Stance:
    """Where one person is in one frame: box coordinates in canvas pixels, angles in radians.

    yaw: 0 faces the viewer, π/2 walks to the right of the frame, π shows the back.
    motion: walking, standing, running or riding.   phase: of the walk cycle.
    pitch: how steeply the camera looks down (0 level).   light: +1 from the left, -1 from the right.
    """

    x: float
    ground: float
    size: float
    yaw: float
    motion: str
    phase: float
    pitch: float = 0.0
    light: float = 1.0


class Figure:
    """The projection of one person in one stance; `draw` puts it on a canvas."""

    def __init__(self, canvas: Canvas, look: Look, stance: Stance):
        self.canvas, self.look, self.stance = canvas, look, stance
        self.cos, self.sin = cos(stance.yaw), sin(stance.yaw)
        self.lean = {"running": 0.14, "riding": 0.22}.get(stance.motion, 0.02) + look.stoop
        self.legs, self.lift = legs(look, stance)
        self.chin = 1 - 0.148 * look.head
        self.shoulder = self.chin - 0.022
        self.hip = look.leg
        self.widths = [  # height, half width across, half depth of the trunk
            (self.shoulder + 0.008, 0.055 * look.shoulder, 0.045),
            (self.shoulder - 0.022, 0.113 * look.shoulder, 0.064 * look.build),
            (self.shoulder - 0.11, 0.107 * look.shoulder * look.build**0.5, 0.078 * look.build),
            (self.hip + 0.10, 0.088 * sqrt(look.shoulder * look.build), 0.070 * look.build),
            (self.hip - 0.03, 0.094 * look.hip * look.build**0.5, 0.074 * look.build),
        ]

    def at(self, joint: Joint) -> Point:
        lateral, height, forward = joint
        height += self.lift
        depth = forward * self.cos - lateral * self.sin
        across = lateral * self.cos + forward * self.sin
        stance = self.stance
        return (
            stance.x + across * stance.size * (1 + stance.pitch * (height - 0.5)),
            stance.ground - stance.size * (height - 0.5 * stance.pitch * depth),
        )

    def depth(self, *joints: Joint) -> float:
        return sum(joint[2] * self.cos - joint[0] * self.sin for joint in joints) / len(joints)

    def px(self, length: float) -> float:
        return length * self.stance.size

    def across(self, height: float) -> tuple[float, float]:
        """Half the trunk's width on screen at `height`, and its lean forward there, in body heights."""
        for upper, lower in pairwise(self.widths):
            if height >= lower[0] or lower is self.widths[-1]:
                share = min(1.0, max(0.0, (upper[0] - height) / (upper[0] - lower[0])))
                wide, deep = (upper[i] + share * (lower[i] - upper[i]) for i in (1, 2))
                return sqrt((wide * self.cos) ** 2 + (deep * self.sin) ** 2), self.forward(height)
        raise AssertionError("unreachable")

    def forward(self, height: float) -> float:
        return self.lean * max(0.0, height - self.hip)

    def on_trunk(self, angle: float, height: float) -> Point:
        """Where the trunk's surface is seen at `angle` (0 towards the viewer, ±π/2 the silhouette)."""
        half, forward = self.across(height)
        x, y = self.at((0.0, height, forward))
        return x + self.px(half) * sin(angle) * (1 + self.stance.pitch * (height - 0.5)), y

    def patch(self, left: float, right: float, top: float, bottom: float, colour: Colour) -> None:
        """A piece of the trunk's surface between two body angles (0 front, π back), as far as visible."""
        middle, half = turned((left + right) / 2 + self.stance.yaw), (right - left) / 2
        left, right = (-pi / 2, pi / 2) if half >= pi else (max(middle - half, -pi / 2), min(middle + half, pi / 2))
        if right - left < 0.08:
            return
        heights = (top, (top + bottom) / 2, bottom)
        side = [self.on_trunk(left, h) for h in heights] + [self.on_trunk(right, h) for h in reversed(heights)]
        self.canvas.polygon(side, colour)


def turned(angle: float) -> float:
    return (angle + pi) % (2 * pi) - pi


def legs(look: Look, stance: Stance) -> tuple[list[tuple[Joint, Joint, Joint]], float]:
    """Hip, knee and ankle of the left and right leg, and how far the body is lifted to stand on the ground.

    The thigh swings as a pendulum; the knee bends while the leg comes forward.
    """
    found = []
    for side, phase in ((1, stance.phase), (-1, stance.phase + pi)):
        lateral = side * 0.047 * look.hip
        hip = (lateral, look.leg, 0.0)
        if stance.motion == "riding":
            ankle = (lateral, 0.17 + 0.065 * cos(phase), 0.02 + 0.065 * sin(phase))
            knee = (lateral * 1.2, 0.36 + 0.03 * cos(phase), 0.15 + 0.02 * sin(phase))
            found.append((hip, knee, ankle))
            continue
        reach = {"walking": look.stride, "running": look.stride * 1.5, "standing": 0.05}[stance.motion]
        bend = {"walking": 0.75, "running": 1.5, "standing": 0.0}[stance.motion] * max(0.0, cos(phase))
        thigh, upper, lower = reach * sin(phase) + 0.25 * bend, look.leg * 0.50, look.leg * 0.44
        knee = (lateral, look.leg - upper * cos(thigh), upper * sin(thigh))
        shin = thigh - bend - 0.05
        found.append((hip, knee, (lateral, knee[1] - lower * cos(shin), knee[2] + lower * sin(shin))))
    lowest = min(ankle[1] for _, _, ankle in found)
    return found, 0.0 if stance.motion == "riding" else 0.045 - lowest


def arms(figure: Figure) -> list[tuple[Joint, Joint, Joint]]:
    """Shoulder, elbow and hand of the left and right arm; they swing against the legs."""
    look, stance = figure.look, figure.stance
    found = []
    for side, phase in ((1, stance.phase + pi), (-1, stance.phase)):
        lateral = side * 0.115 * look.shoulder
        shoulder = (lateral, figure.shoulder - 0.03, figure.forward(figure.shoulder))
        if stance.motion == "riding":
            elbow = (lateral * 1.25, figure.shoulder - 0.16, shoulder[2] + 0.07)
            found.append((shoulder, elbow, (lateral * 0.9, 0.57, 0.24)))
            continue
        reach = {"walking": look.swing, "running": 0.9, "standing": 0.04}[stance.motion]
        bend = {"walking": 0.30, "running": 1.45, "standing": 0.1}[stance.motion]
        swing = reach * sin(phase)
        elbow = (lateral * 1.16, shoulder[1] - 0.165 * cos(swing), shoulder[2] + 0.165 * sin(swing))
        hand = (lateral * 1.2, elbow[1] - 0.155 * cos(swing + bend), elbow[2] + 0.155 * sin(swing + bend))
        found.append((shoulder, elbow, hand))
    return found


def shaded(colour: Colour, depth: float) -> Colour:
    """Limbs on the far side lie in the body's shadow."""
    return toned(colour, 1.0 if depth >= -0.02 else 0.8)
