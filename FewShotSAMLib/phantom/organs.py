"""The organs of the generated abdomen: where they lie, how large and how bright they are.

Positions are in the patient's millimetres of `solids.Space`; brightness is that of a
fat-suppressed T2 MR, 0 for air and about 1 for water.
"""

from __future__ import annotations

import numpy as np
from scipy import spatial

from .solids import Array, Painting, Space, fillet

LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN = 1, 2, 3, 4


def paint(painting: Painting) -> None:
    """Everything, from the skin inwards."""
    space = painting.space
    body = _body(space)
    # The organs keep a cavity's distance from the skin; the flanks' walls are thicker low down.
    cavity = body + 21.0 - 5.0 * np.clip(space.z / 200.0, 0.0, 1.0)
    diaphragm = _diaphragm(space)
    _wall(painting, body, cavity)
    _gut(painting, np.maximum(cavity, -diaphragm - 2.0))
    painting.lay(np.maximum(cavity + 2.0, diaphragm), 0.02, edge=1.2)
    _back(painting)
    abdomen = np.maximum(cavity + 2.0, -diaphragm - 3.0)
    _stomach(painting, abdomen)
    _pancreas(painting)
    _liver(painting, abdomen)
    _spleen(painting, abdomen)
    _kidney(painting, RIGHT_KIDNEY, side=-1, height=82.0)
    _kidney(painting, LEFT_KIDNEY, side=+1, height=94.0)
    _great_vessels(painting)


def _body(space: Space) -> Array:
    waist = 6.0 * np.cos((space.z - 60.0) / 50.0)
    wide, front, back = 146.0 - waist, 94.0 - 0.5 * waist, 88.0 - 0.3 * waist
    deep = np.where(space.y < 0, front, back)
    # A superellipse: flatter in front and at the back than an ellipse.
    scaled = (np.abs(space.x / wide) ** 2.5 + np.abs(space.y / deep) ** 2.5) ** (1 / 2.5)
    groove = 7.0 * np.exp(-((space.x / 9.0) ** 2)) * (space.y > 0)
    return (scaled - 1.0) * np.minimum(wide, deep) + groove


def _diaphragm(space: Space) -> Array:
    """Negative above the two domes: the lungs."""
    right = 203.0 - ((space.x + 50.0) ** 2 + (space.y - 0.0) ** 2) / 165.0
    left = 190.0 - ((space.x - 60.0) ** 2 + (space.y - 12.0) ** 2) / 150.0
    middle = 176.0 - 0.004 * space.x**2 - 0.2 * np.maximum(space.y - 20.0, 0.0)
    dome = np.maximum(np.maximum(right, left), middle)
    return 0.7 * (dome - space.z)


def _wall(painting: Painting, body: Array, cavity: Array) -> None:
    space = painting.space
    grain = space.noise(5.0)
    painting.lay(body, 0.13 + 0.012 * grain)
    painting.lay(body + 2.0, 0.075 + 0.012 * grain + 0.02 * space.noise(30.0))
    # Three sheets of muscle, the fascia between them brighter.
    muscle = np.maximum(cavity - 9.0, -cavity)
    sheets = 0.15 + 0.03 * np.cos(cavity * (2 * np.pi / 4.5)) + 0.015 * grain
    painting.lay(muscle, sheets)
    ribs = np.cos(np.arctan2(space.y, space.x) * 9.0 + space.z / 9.0) > 0.72
    rib = np.where(ribs & (space.z > 70.0), np.abs(cavity - 4.5) - 3.0, 9.0)
    painting.lay(rib, 0.22 + 0.02 * grain, edge=0.9)
    painting.lay(cavity, 0.09 + 0.02 * grain)


def _back(painting: Painting) -> None:
    """Vertebrae and discs, the canal, the muscles beside them."""
    lean = 6.0 * np.cos((painting.space.z - 30.0) / 60.0)
    _back_muscles(painting, lean)
    _vertebrae(painting, lean)
    _canal(painting, lean)


def _back_muscles(painting: Painting, lean: Array) -> None:
    space = painting.space
    fibres = 0.15 + 0.018 * space.noise(4.0) + 0.015 * space.noise(12.0)
    for side in (-1, 1):
        painting.lay(
            space.column((side * 29.0, 69.0 + 0.4 * lean), (25.0, 15.0), side * 0.25), fibres
        )
        low = np.clip((130.0 - space.z) / 130.0, 0.02, 1.0)
        psoas = space.column((side * (30.0 + 12.0 * low), 44.0 - lean), (20.0 * low, 23.0 * low))
        painting.lay(psoas, fibres)
        wing = space.column((side * 21.0, 58.0), (16.0, 4.0), side * 0.2)
        painting.lay(np.maximum(wing, 9.0 - np.abs((space.z % 34.0) - 17.0)), 0.16)


def _vertebrae(painting: Painting, lean: Array) -> None:
    space = painting.space
    spine = space.column((0.0, 36.0 - lean), (23.0, 17.0))
    level = (space.z + 5.0) % 34.0
    disc = np.maximum(spine + 1.0, np.abs(level - 17.0) - 4.0)
    painting.lay(spine, 0.10)
    painting.lay(spine + 1.6, 0.27 + 0.04 * space.noise(5.0) + 0.03 * space.noise(15.0))
    nucleus = np.clip(-(spine + 6.0) / 6.0, 0.0, 1.0)
    painting.lay(disc, 0.12 + 0.25 * nucleus, edge=1.0)
    arch = space.column((0.0, 59.0 - lean), (14.0, 12.0))
    process = np.maximum(space.column((0.0, 74.0 - lean), (3.0, 15.0)), np.abs(level - 2.0) - 10.0)
    painting.lay(np.minimum(arch, process), 0.14 + 0.02 * space.noise(5.0))


def _canal(painting: Painting, lean: Array) -> None:
    space = painting.space
    canal = space.column((0.0, 58.0 - lean), (9.0, 6.5))
    painting.lay(canal, 0.92)
    cord = space.column((0.0, 59.5 - lean), (5.0, 3.2))
    roots = np.where(space.z > 95.0, 0.48, 0.62 + 0.12 * space.noise(3.0))
    painting.lay(cord, roots, edge=1.0)


def _gut(painting: Painting, room: Array) -> None:
    """Bowel: cells about random centres, bent out of shape, with folds and different contents."""
    space = painting.space
    # Loops stay in front of the kidneys and the great muscles, further back in the flanks.
    room = np.maximum(room, 0.8 * (space.y - 14.0 - 0.28 * np.abs(space.x)))
    solid, content = _loops(space, room)
    folds = 1.0 + 0.14 * space.noise(3.5) + 0.12 * space.noise(8.0)
    painting.lay(solid, content * folds, edge=1.0)
    vessels = np.maximum(space.branches(18.0, 0.9), np.abs(solid) - 2.0)
    painting.lay(np.maximum(vessels, room + 3.0), 0.6)


def _loops(space: Space, room: Array) -> tuple[Array, Array]:
    """The bowel's loops where there is room, and their brightness."""
    random, inside = space.random, room < 3.0
    centres = random.uniform((-125.0, -95.0, -20.0), (125.0, 45.0, 195.0), size=(300, 3))
    contents = random.choice(
        [0.34, 0.40, 0.46, 0.80, 0.07], size=len(centres), p=[0.32, 0.32, 0.24, 0.08, 0.04]
    )
    squeeze = np.array([1.0, 1.0, 0.7])
    bent = [c + 4.5 * space.noise(13.0) for c in (space.x, space.y, space.z)]
    points = np.stack([c[inside] for c in bent], axis=1)
    away, nearest = spatial.cKDTree(centres * squeeze).query(points * squeeze, k=2, workers=1)
    depth = 0.5 * (away[:, 1] - away[:, 0]).astype(np.float32)
    gap = np.clip(0.9 + 1.6 * space.noise(28.0), 0.2, 5.0)
    solid = np.full(room.shape, 9.0, np.float32)
    solid[inside] = np.maximum(gap[inside] - depth, room[inside])
    content = np.zeros(room.shape, np.float32)
    # The wall is as bright as muscle with fluid in it, whatever the loop holds.
    lumen = np.clip((depth - gap[inside] - 1.5) / 3.0, 0.0, 1.0)
    content[inside] = 0.36 + lumen * (contents[nearest[:, 0]] - 0.36)
    return solid, content


def _stomach(painting: Painting, abdomen: Array) -> None:
    space = painting.space
    body = space.ellipsoid((52.0, -18.0, 152.0), (44.0, 42.0, 42.0), turn=0.5)
    outlet = space.ellipsoid((8.0, -44.0, 118.0), (48.0, 20.0, 20.0), turn=-0.2)
    solid = np.maximum(fillet(body, outlet, 20.0), abdomen)
    painting.lay(solid, 0.34 + 0.03 * space.noise(4.0))
    # What was drunk lies at the back, air above it, food in between.
    layer = np.clip((space.y + 30.0 + 5.0 * space.noise(18.0)) / 40.0, 0.0, 1.0)
    food = 0.22 + 0.5 * layer + 0.10 * space.noise(6.0)
    painting.lay(solid + 4.5, np.clip(food, 0.05, 1.0), edge=1.2)


def _pancreas(painting: Painting) -> None:
    space = painting.space
    bend = 10.0 - 0.004 * space.x**2
    solid = space.ellipsoid((22.0, bend - 4.0, 112.0 + 0.18 * space.x), (66.0, 9.0, 14.0))
    painting.lay(solid + 2.0 * space.noise(7.0), 0.50 + 0.05 * space.noise(4.0))


def _liver(painting: Painting, abdomen: Array) -> None:
    space = painting.space
    right = space.ellipsoid((-70.0 + 0.08 * (space.z - 125.0), 4.0, 128.0), (64.0, 74.0, 84.0))
    left = space.ellipsoid((-8.0, -40.0, 150.0), (74.0, 27.0, 40.0), turn=0.08)
    solid = np.maximum(fillet(right, left, 22.0), abdomen)
    # The under-surface rises towards the midline, where the bowel and the pancreas lie.
    under = 0.55 * (96.0 + 0.72 * (space.x + 62.0) - 0.25 * (space.y + 20.0) - space.z)
    solid = -fillet(-solid, -under, 6.0)
    tissue = 0.40 + 0.018 * space.noise(3.5) + 0.015 * space.noise(12.0)
    painting.lay(solid, tissue, LIVER)
    hilum = np.sqrt((space.x + 32.0) ** 2 + space.y**2 + 0.6 * (space.z - 140.0) ** 2)
    radius = np.clip(3.4 - hilum / 32.0, 0.8, 2.8)
    vessels = np.maximum(space.branches(22.0, radius), solid + 5.0)
    painting.lay(vessels, 0.68, LIVER)
    bladder = space.ellipsoid((-46.0, -46.0, 106.0), (11.0, 24.0, 22.0), turn=0.7)
    painting.lay(bladder, 0.30)
    painting.lay(bladder + 1.8, 0.97)


def _spleen(painting: Painting, abdomen: Array) -> None:
    space = painting.space
    solid = space.ellipsoid((90.0, 36.0, 136.0), (34.0, 56.0, 50.0), turn=0.35)
    bed = space.ellipsoid((48.0, 4.0, 146.0), (42.0, 50.0, 75.0), turn=0.45)
    solid = np.maximum(np.maximum(solid, -bed), abdomen)
    painting.lay(solid, 0.74 + 0.02 * space.noise(3.5) + 0.02 * space.noise(14.0), SPLEEN)


def _kidney(painting: Painting, label: int, side: int, height: float) -> None:
    space = painting.space
    up = space.z - height
    centre = (side * (62.0 - 0.16 * up), 38.0 + 0.05 * up, height)
    whole = space.ellipsoid(centre, (29.0, 23.0, 56.0), turn=side * 0.6)
    hilum = (centre[0] - side * 17.0, centre[1] - 11.0, height)
    sinus = space.ellipsoid(hilum, (19.0, 8.0, 24.0), turn=side * 0.6)
    painting.lay(whole - 1.5 - np.clip(2.5 * space.noise(20.0), 0.0, 6.0), 0.12, edge=1.2)
    ring = np.clip(1.0 - np.abs(whole + 11.0) / 6.0, 0.0, 1.0)
    pyramids = np.clip(space.noise(9.0) + 0.3, 0.0, 1.0)
    tissue = 0.86 - 0.30 * ring * pyramids + 0.02 * space.noise(3.5)
    painting.lay(np.maximum(whole, -sinus), tissue, label)
    painting.lay(np.maximum(sinus, whole - 3.0), np.clip(0.3 + 0.35 * space.noise(6.0), 0.06, 1.0))


def _great_vessels(painting: Painting) -> None:
    space = painting.space
    slow = np.clip((120.0 - space.z) / 60.0, 0.0, 1.0)
    lean = 6.0 * np.cos((space.z - 30.0) / 60.0)
    aorta = space.column((9.0, 8.0 - lean), (9.5, 9.5))
    painting.lay(aorta, 0.42)
    painting.lay(aorta + 2.0, 0.10 + 0.75 * slow, edge=0.8)
    cava = space.column((-20.0 - 0.05 * (space.z - 100.0), 9.0 - lean), (12.0, 9.0), 0.3)
    painting.lay(cava, 0.30 + 0.45 * slow)
    portal = space.column((-26.0 + 0.35 * (130.0 - space.z), -8.0), (7.0, 6.0))
    painting.lay(np.maximum(portal, np.abs(space.z - 128.0) - 24.0), 0.62)
