"""Faces in a picture: found, chosen, cut out and recognized.

``app`` is insightface's FaceAnalysis; a picture is uint8 RGB [H, W, 3].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import IPAdapterError, pick
from .options import Option

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]

# The side of the square that the detector looks at. In a smaller one a large face is found, which
# in a larger one is bigger than what it knows.
SIZES = range(640, 255, -64)

# Where ArcFace wants the eyes, the nose and the corners of the mouth, in a crop of 112 pixels:
# deepinsight/insightface, python-package/insightface/utils/face_align.py.
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
RECOGNIZED = 112


class FaceChoice(NamedTuple):
    """Which faces of a picture are meant."""

    select: str = "largest"  # one of SELECTIONS
    number: int = 0  # in the order that ``select`` gives


LARGEST = FaceChoice()


class FaceRequest(NamedTuple):
    """Which faces of a picture are meant, how they are cut out, and at which sizes it is looked at."""

    choice: FaceChoice = LARGEST
    crop: str = "aligned"  # one of CROPS
    size: int = 224  # of the crop, pixels a side
    sizes: Sequence[int] = SIZES  # of what the detector is shown


class Face(NamedTuple):
    box: Points  # [4]: left, top, right, bottom
    points: Points  # [5, 2]: eyes, nose, corners of the mouth, each x, y
    score: float


def find(app: Any, picture: Picture, sizes: Sequence[int] = SIZES) -> list[Face]:
    """The faces at the first of these sizes that shows any, the detector's surest first."""
    height, width = picture.shape[:2]
    for size in sizes:
        if min(height, width) * size < max(height, width):
            break  # shrunk to that size, the shorter side would have no pixel
        boxes, points = app.det_model.detect(
            bgr(picture), input_size=(size, size), max_num=0, metric="default"
        )
        if points is None:
            raise IPAdapterError(
                "insightface: this model's detector finds no eyes and mouth, which are needed to "
                "crop a face; choose buffalo_l or antelopev2"
            )
        if len(boxes):
            return [Face(b[:4], p, float(b[4])) for b, p in zip(boxes, points, strict=True)]
    return []


def choose(faces: Sequence[Face], choice: FaceChoice, where: str = "the picture") -> list[Face]:
    """One face, number ``number`` (from 0) in the order ``select``; or every face with "all"."""
    select, index = choice
    ordered = sorted(faces, key=pick(SELECTIONS, select, "face_select").value)
    if select == "all":
        return ordered
    if not 0 <= index < len(ordered):
        found = "1 face" if len(ordered) == 1 else f"{len(ordered)} faces"
        raise IPAdapterError(
            f"face_index {index}: {where} has {found}; choose "
            + ("0" if len(ordered) == 1 else f"a number from 0 to {len(ordered) - 1}")
        )
    return [ordered[index]]


def area(face: Face) -> float:
    left, top, right, bottom = face.box
    return float((right - left) * (bottom - top))


def center(face: Face) -> float:
    return float(face.box[0] + face.box[2]) / 2


def identity(app: Any, picture: Picture, face: Face) -> NDArray[np.float32]:
    """Who the face is, as the recognizer says it: [512], not normalized."""
    crop = aligned(picture, face.points, RECOGNIZED)
    return app.models["recognition"].get_feat(bgr(crop)).ravel()


def similarity(points: Points, size: int) -> NDArray[np.float64]:
    """The matrix [2, 3] that turns, scales and moves the points closest to the template's.

    The least squares solution of Umeyama 1991 (doi 10.1109/34.88573). In the plane, to turn and
    scale is to multiply by one complex number, which cannot mirror. Multiples of 128 have the
    template with 8 pixels more on either side, as in insightface. Its own ``norm_crop`` takes no
    size but multiples of 112 and 128, and image encoders have others.
    """
    source = points.astype(np.float64) @ [1, 1j]
    wide = size % 112 != 0 and size % 128 == 0
    target = (TEMPLATE @ [1, 1j] + (8 if wide else 0)) * (size / (128 if wide else 112))
    centered = source - source.mean()
    turn = complex((centered.conj() @ (target - target.mean())) / (np.abs(centered) ** 2).sum())
    shift = complex(target.mean() - turn * source.mean())
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def aligned(picture: Picture, points: Points, size: int) -> Picture:
    """The face upright and centered, as recognizers were trained: [size, size, 3]."""
    import cv2

    warped = cv2.warpAffine(picture, similarity(points, size), (size, size))
    return np.asarray(warped, np.uint8)


def square(picture: Picture, box: Points, size: int) -> Picture:
    """The square around the box, not turned, black outside the picture: [size, size, 3].

    As Kwai-Kolors/Kolors @89afca1, ipadapter_FaceID/sample_ipadapter_faceid_plus.py.
    """
    from PIL import Image

    (left, top, right, bottom), half = box.tolist(), float(max(box[2:] - box[:2])) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    crop = Image.fromarray(picture).crop((x - half, y - half, x + half, y + half))  # pyright: ignore[reportArgumentType]
    return np.array(crop.resize((size, size), Image.Resampling.BICUBIC))


def bgr(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[..., ::-1])


# face_select: what the faces are ordered by, the smallest number first.
SELECTIONS: dict[str, Option[Callable[[Face], float]]] = {
    "largest": Option(lambda face: -area(face), "the largest; face_index 1 is the next"),
    "best score": Option(
        lambda face: -face.score, "the highest detection score; face_index 1 is the next"
    ),
    "left to right": Option(center, "the leftmost; face_index 1 is the one to its right"),
    "all": Option(center, "every face, left to right, together as one reference"),
    "index": Option(lambda face: 0, "the one with that number in the detector's list"),
}

CROPS: dict[str, Callable[[Picture, Face, int], Picture]] = {
    "aligned": lambda picture, face, size: aligned(picture, face.points, size),
    "square": lambda picture, face, size: square(picture, face.box, size),
}
