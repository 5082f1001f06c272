"""What the tests of figures, diagrams and pages ask of a picture: places, contrast, and colours as different eyes see them.

A place is anything with x0, x1, y0 and y1, such as matplotlib's Bbox.
"""

from itertools import combinations

import numpy as np
from matplotlib.colors import to_rgb


def inside(small, large, slack=1.0):
    return (
        small.x0 >= large.x0 - slack
        and small.x1 <= large.x1 + slack
        and small.y0 >= large.y0 - slack
        and small.y1 <= large.y1 + slack
    )


def overlap(one, other, slack=1.0):
    return (
        min(one.x1, other.x1) - max(one.x0, other.x0) > slack and min(one.y1, other.y1) - max(one.y0, other.y0) > slack
    )


def luminance(color):
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """WCAG 2.1 contrast ratio of two colours."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


# How a person sees linear RGB: Machado, Oliveira and Fernandes (2009), severity 1.0. Protanopia and deuteranopia are the common two.
EYES = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]


def seen_as(color, eye):
    """CIELAB (D65) of a colour as an eye of EYES sees it."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = TO_XYZ @ np.clip(EYES[eye] @ linear, 0, 1) / [0.95047, 1, 1.08883]
    x, y, z = (t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29 for t in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def too_alike(colors, eye, distance=17):
    """Pairs of names whose colours are nearer than `distance` (CIE76), some seven times the least that is noticed."""
    seen = {name: seen_as(color, eye) for name, color in colors.items()}
    return [(a, b) for a, b in combinations(seen, 2) if np.linalg.norm(seen[a] - seen[b]) < distance]


def boxes_around(place, boxes):
    """The (box, its place) that hold the middle of a place."""
    x, y = (place.x0 + place.x1) / 2, (place.y0 + place.y1) / 2
    return [(box, area) for box, area in boxes if area.x0 < x < area.x1 and area.y0 < y < area.y1]
