"""What a person looks like: the ID-relevant attributes, and the person's own traits within them."""

import colorsys
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Colour = tuple[int, int, int]
T = TypeVar("T")

# name → ranges of hue (turns), saturation, value: everything that still goes by that name
HUES = {
    "black": ((0.0, 1.0), (0.00, 0.35), (0.08, 0.24)),
    "white": ((0.05, 0.65), (0.00, 0.13), (0.84, 0.99)),
    "gray": ((0.05, 0.65), (0.00, 0.12), (0.38, 0.68)),
    "red": ((-0.04, 0.02), (0.60, 0.95), (0.45, 0.88)),
    "pink": ((0.90, 0.98), (0.25, 0.55), (0.75, 0.98)),
    "purple": ((0.73, 0.85), (0.30, 0.70), (0.35, 0.70)),
    "blue": ((0.55, 0.67), (0.35, 0.85), (0.30, 0.78)),
    "green": ((0.25, 0.46), (0.30, 0.75), (0.28, 0.68)),
    "yellow": ((0.11, 0.17), (0.50, 0.90), (0.72, 0.97)),
    "brown": ((0.03, 0.10), (0.35, 0.65), (0.28, 0.58)),
    "complex": ((0.0, 1.0), (0.35, 0.75), (0.40, 0.90)),
    "skin": ((0.04, 0.08), (0.30, 0.52), (0.52, 0.95)),
    "hair": ((0.03, 0.10), (0.15, 0.65), (0.08, 0.38)),
    "old hair": ((0.05, 0.15), (0.02, 0.08), (0.62, 0.88)),
}
TOPS = {  # colour codes, as published with the annotations (MARS) and in their parent data set (Duke)
    "mars": ["black", "purple", "green", "blue", "gray", "white", "yellow", "red", "complex"],
    "duke": ["black", "white", "red", "purple", "gray", "blue", "green", "brown", "complex"],
}
BOTTOMS = {
    "mars": ["white", "purple", "black", "green", "gray", "pink", "yellow", "blue", "brown", "complex"],
    "duke": ["black", "white", "red", "gray", "blue", "green", "brown", "complex"],
}
# fmt: off
TRAITS = (  # what is a person's own; _1, _2, _3 place a colour within its name
    "skin", "hair_1", "hair_2", "hair_cut", "top_1", "top_2", "top_3", "accent_1", "accent_2",
    "accent_3", "bottom_1", "bottom_2", "bottom_3", "shoe_1", "shoe_2", "shoe_3", "sole", "bag_1",
    "bag_2", "bag_3", "pack_1", "pack_2", "pack_3", "purse_1", "purse_2", "hat_1", "hat_2", "hat_3",
    "weave", "front", "back", "trim", "head", "shoulder", "hip", "build", "leg", "stride", "swing",
    "pace", "sleeve", "hem", "stripe", "stripe_hue", "pack_size", "dress", "boot", "age",
)
# fmt: on


@dataclass(frozen=True)
class Look:
    """What the figure needs: colours (RGB), heights as shares of the body's, proportions around 1."""

    skin: Colour
    hair: Colour
    top: Colour
    accent: Colour
    bottom: Colour
    trim: Colour
    shoe: Colour
    sole: Colour
    bag_colour: Colour
    pack_colour: Colour
    purse_colour: Colour
    hat_colour: Colour
    long_hair: bool
    hair_cut: float
    weave: str
    front: str
    back: str
    bottom_weave: str
    sleeve: float  # share of the arm that is covered
    coat: bool
    skirt: bool
    hem: float  # height of the lower edge of skirt or trousers
    boots: bool
    backpack: bool
    bag: bool
    purse: bool
    hat: str  # "" for none
    pack_size: float
    head: float
    shoulder: float
    hip: float
    build: float
    leg: float  # height of the hip
    stoop: float
    stride: float
    swing: float
    pace: float


def traits(rng: np.random.Generator, detail: float) -> dict[str, float]:
    """A person's own traits, each in [0, 1); `detail` 0 makes all people alike (0.5), 1 spreads them out."""
    return dict(zip(TRAITS, 0.5 + detail * (rng.random(len(TRAITS)) - 0.5)))


def look(layout: str, codes: Mapping[str, int], own: Mapping[str, float]) -> Look:
    """The look of a person with these ID-relevant `codes` and `own` traits.

    Both layouts: top/bottom color as in TOPS/BOTTOMS; gender 1 female (narrow shoulders, wide hips);
    backpack, hat, hand bag/handbag, shoulder bag/bag 1 carried.
    MARS: age 0 child (large head, short legs), 1 young, 2 adult (broader), 3 old (grey, stooping); hair 1
    long; top length 0 long sleeves, 1 short; bottom length 0 long, 1 short; bottom type 0 skirt, 1 trousers.
    Duke: top 1 coat to the thighs; boots 1 to below the knee; shoes 1 light. What Duke does not annotate
    (hair, sleeves, skirts, age) is the person's own.
    """
    winter, female = layout == "duke", codes["gender"] == 1
    age = codes.get("age", 2 if own["age"] > 0.6 else 1)
    skirt = codes.get("bottom type", int(not (winter and female and own["dress"] < 0.2))) == 0
    short = bool(codes.get("bottom length", int(skirt and own["hem"] < 0.6)))
    top, bottom = TOPS[layout][codes["top color"]], BOTTOMS[layout][codes["bottom color"]]
    weaves = ["stripes", "checks"] if top == "complex" else ["stripes", "plain", "plain", "yoke"]
    hats = ["cap", "beanie", "beanie"] if winter else ["cap", "brim", "cap"]
    return Look(
        **colours(top, bottom, shoe_name(codes, own), age == 3, own),
        **proportions(female, age, own),
        long_hair=bool(codes.get("hair", own["hair_cut"] < (0.75 if female else 0.04))),
        hair_cut=own["hair_cut"],
        weave=pick(weaves, own["weave"]),
        front=pick(["disc", "square", "open", "plain", "bar", "buttons", "tall"], own["front"]),
        back=pick(["bar", "plain", "plain", "disc"], own["back"]),
        bottom_weave="checks" if bottom == "complex" else "stripe" if own["stripe"] > 0.85 else "plain",
        sleeve=1.0 if winter or codes["top length"] == 0 else between(0.25, 0.5, own["sleeve"]),
        coat=codes.get("top", 0) == 1,
        skirt=skirt,
        hem=hem_height(skirt, short, own["hem"]),
        boots=codes.get("boots", 0) == 1,
        backpack=codes["backpack"] == 1,
        bag=codes.get("bag", codes.get("shoulder bag")) == 1,
        purse=codes.get("handbag", codes.get("hand bag")) == 1,
        hat=pick(hats, own["hat_2"]) if codes["hat"] else "",
        pack_size=between(0.8, 1.2, own["pack_size"]),
    )


def colours(top: str, bottom: str, shoe: str, old: bool, own: Mapping[str, float]) -> dict[str, Colour]:
    accent = pick(["white", "black", "complex", "complex", "complex", "yellow"], own["accent_1"])
    bag, pack = (
        pick(["black", "brown", "complex", "gray"], own["bag_1"]),
        pick(["black", "complex"], own["pack_1"]),
    )
    purse, hat = (
        pick(["brown", "complex", "white"], own["purse_1"]),
        pick(["white", "complex", "black"], own["hat_1"]),
    )
    return {
        "skin": colour("skin", own["skin"], own["skin"], 1 - own["skin"]),
        "hair": colour("old hair" if old else "hair", own["hair_1"], own["hair_1"], own["hair_2"]),
        "top": colour(top, own["top_1"], own["top_2"], own["top_3"]),
        "accent": colour(accent, own["accent_2"], own["accent_3"], own["accent_3"]),
        "bottom": colour(bottom, own["bottom_1"], own["bottom_2"], own["bottom_3"]),
        "trim": colour("complex", own["stripe_hue"], own["accent_2"], own["trim"]),
        "shoe": colour(shoe, own["shoe_1"], own["shoe_2"], own["shoe_3"]),
        "sole": colour("white" if own["sole"] > 0.5 else "black", 0.1, 0.1, own["shoe_3"]),
        "bag_colour": colour(bag, own["bag_2"], 0.6, own["bag_3"]),
        "pack_colour": colour(pack, own["pack_2"], 0.6, own["pack_3"]),
        "purse_colour": colour(purse, own["purse_2"], 0.6, own["purse_2"]),
        "hat_colour": colour(hat, own["hat_3"], 0.6, own["hat_3"]),
    }


def proportions(female: bool, age: int, own: Mapping[str, float]) -> dict[str, float]:
    return {
        "head": between(0.93, 1.07, own["head"]) * (1.38, 1.08, 1.0, 1.02)[age],
        "shoulder": between(0.9, 1.1, own["shoulder"]) * (0.82 if female else 1.05) * (0.9, 0.94, 1.06, 1.0)[age],
        "hip": between(0.9, 1.1, own["hip"]) * (1.12 if female else 0.94) * (0.95, 0.95, 1.06, 1.05)[age],
        "build": between(0.85, 1.2, own["build"]) * (1.0, 0.93, 1.08, 1.12)[age],
        "leg": between(0.475, 0.525, own["leg"]) - (0.055, 0.0, 0.0, 0.01)[age],
        "stoop": (0.0, 0.0, 0.01, 0.09)[age],
        "stride": between(0.36, 0.58, own["stride"]),
        "swing": between(0.2, 0.65, own["swing"]),
        "pace": between(0.75, 1.15, own["pace"]),
    }


def shoe_name(codes: Mapping[str, int], own: Mapping[str, float]) -> str:
    if "shoes" not in codes:
        return pick(["black", "brown", "gray", "white"], own["sole"])
    if codes["shoes"]:
        return "white"
    return pick(["black", "brown", "brown"], own["boot"]) if codes["boots"] else "black"


def hem_height(skirt: bool, short: bool, own: float) -> float:
    if skirt:
        return between(0.27, 0.36, own) if short else between(0.09, 0.18, own)
    return between(0.24, 0.33, own) if short else between(0.03, 0.06, own)


def colour(name: str, *place: float) -> Colour:
    """The colour called `name` at `place` (in [0, 1]³) within its ranges of hue, saturation and value."""
    hue, saturation, value = (between(low, high, at) for (low, high), at in zip(HUES[name], place))
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1, saturation, value))


def toned(colour: Colour, factor: float) -> Colour:
    return tuple(min(255, int(channel * factor)) for channel in colour)


def between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def pick(options: Sequence[T], share: float) -> T:
    return options[min(len(options) - 1, math.floor(share * len(options)))]
