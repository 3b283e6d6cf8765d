"""Ink on paper: filled shapes on an image, and the same shapes on a mask of what belongs to the target."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, ...]


class Canvas:
    """Draws on `image`; with `mask` (mode "L") it records which pixels are the target's.

    While `target` is set, shapes mark the mask; while not, they wipe it: what is in front hides the target.
    """

    def __init__(self, image: Image.Image, mask: Image.Image | None = None):
        self.image, self.mask, self.target = image, mask, False
        self.ink = ImageDraw.Draw(image)
        self.glaze = ImageDraw.Draw(image, "RGBA")
        self.stencil = ImageDraw.Draw(mask) if mask else None

    @property
    def mark(self) -> int:
        return 255 if self.target else 0

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self.ink.polygon(points, fill=colour)
        if self.stencil:
            self.stencil.polygon(points, fill=self.mark)

    def slab(self, x: float, top: float, bottom: float, above: float, below: float, colour: Colour) -> None:
        """An upright trapezium around `x`, its half widths `above` at the top and `below` at the bottom."""
        self.polygon([(x - above, top), (x + above, top), (x + below, bottom), (x - below, bottom)], colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        box = (x - rx, y - ry, x + rx, y + ry)
        self.ink.ellipse(box, fill=colour)
        if self.stencil:
            self.stencil.ellipse(box, fill=self.mark)

    def ring(self, x: float, y: float, rx: float, ry: float, width: float, colour: Colour) -> None:
        box, width = (x - rx, y - ry, x + rx, y + ry), max(1, round(width))
        self.ink.ellipse(box, outline=colour, width=width)
        if self.stencil:
            self.stencil.ellipse(box, outline=self.mark, width=width)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        width = max(1, round(width))
        self.ink.line(points, fill=colour, width=width, joint="curve")
        if self.stencil:
            self.stencil.line(points, fill=self.mark, width=width, joint="curve")

    def limb(self, a: Point, b: Point, wide: float, thin: float, colour: Colour) -> None:
        """A tapered bar with round ends, `wide` and `thin` across at `a` and `b`."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        length = (dx * dx + dy * dy) ** 0.5 or 1.0
        nx, ny, wide, thin = -dy / length, dx / length, wide / 2, thin / 2
        self.polygon(
            [
                (a[0] + nx * wide, a[1] + ny * wide),
                (b[0] + nx * thin, b[1] + ny * thin),
                (b[0] - nx * thin, b[1] - ny * thin),
                (a[0] - nx * wide, a[1] - ny * wide),
            ],
            colour,
        )
        self.ellipse(*a, wide, wide, colour)
        self.ellipse(*b, thin, thin, colour)

    def shadow(self, x: float, y: float, rx: float, ry: float, alpha: int) -> None:
        """Darkens what is there; no object, so the mask stays."""
        self.glaze.ellipse((x - rx, y - ry, x + rx, y + ry), fill=(0, 0, 0, alpha))
