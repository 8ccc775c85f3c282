"""Classes as drawings of 7 x 12 dots: the codes with which an output layer of radial units compares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from netwright.core.seed import generator

ROWS, COLUMNS = 12, 7
CODE_LENGTH = ROWS * COLUMNS
"""Elements of a code, and units of the layer before."""
DIGITS = """
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
..###.. ...#... ..###.. .####.. .....#. ####### ...###. ####### ..###.. ..###..
.#...#. ..##... .#...#. #....#. ....##. #...... ..#.... ......# .#...#. .#...#.
#.....# .#.#... #.....# ......# ...#.#. #...... .#..... .....#. .#...#. #.....#
#.....# ...#... ......# ......# ..#..#. #...... #...... .....#. .#...#. #.....#
#.....# ...#... .....#. .....#. .#...#. ######. #.###.. ....#.. ..###.. .#...##
#.....# ...#... ....#.. ..###.. #....#. ......# ##...#. ....#.. .#...#. ..###.#
#.....# ...#... ...#... .....#. ####### ......# #.....# ...#... #.....# ......#
#.....# ...#... ..#.... ......# .....#. ......# #.....# ...#... #.....# .....#.
.#...#. ...#... .#..... #.....# .....#. #....#. .#...#. ..#.... .#...#. ....#..
..###.. .#####. ####### .#####. .....#. .####.. ..###.. ..#.... ..###.. .###...
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""
"""The digits from 0 to 9 beside each other."""


def digit_code(digit: int) -> Tensor:
    """The drawing of a digit (12, 7): 1 where there is ink, -1 elsewhere.

    >>> int((digit_code(7) == 1).sum())
    16
    """
    at = digit * (COLUMNS + 1)
    lines = [line[at : at + COLUMNS] for line in DIGITS.strip().splitlines()]
    return torch.tensor([[1.0 if dot == "#" else -1.0 for dot in line] for line in lines])


def class_codes(classes: Sequence[str]) -> Tensor:
    """Codes (C, 84) of +1 and -1: drawings where all classes are digits, else drawn by lot, the same for the same names.

    Such codes need no more than that they are far from each other; those drawn by lot differ in about 42 places.

    Source: LeCun et al. (1998), section II.B, who draw printable characters; the drawings are ours.

    >>> class_codes(["3", "8"]).shape, int((class_codes(["cat", "dog"])[0] != class_codes(["cat", "dog"])[1]).sum()) > 20
    (torch.Size([2, 84]), True)
    """
    if all(name.isdecimal() and name.isascii() and len(name) == 1 for name in classes):
        return torch.stack([digit_code(int(name)).flatten() for name in classes])
    drawn = [torch.randint(0, 2, (CODE_LENGTH,), generator=generator(0, "code", name)) for name in classes]
    return 2.0 * torch.stack(drawn) - 1.0
