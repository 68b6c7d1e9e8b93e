"""A tiny insightface model folder and pictures whose faces it finds.

A "face" is a square of noise in which one of red, green and blue dominates. The detector finds at
most one of each color; the recognizer tells patterns apart, wherever and however large they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array

if TYPE_CHECKING:
    from torch import Tensor

SCORES = {"red": 0.9, "green": 0.8, "blue": 0.7}
COLORS = tuple(SCORES)
STRIDES = {"red": 8, "green": 16, "blue": 32}
SIDES = (16, 300)  # the smallest and largest face that is seen, in pixels of the detector
# insightface's ArcFace template: eyes, nose and corners of the mouth in a face of 112 pixels.
POINTS = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float32,
)


def build(folder: Path) -> Path:
    """Fill the folder as models/insightface/models/buffalo_l would be."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in (("det", detector()), ("rec", recognizer()), ("genderage", gender_age())):
        onnx.save(model, str(folder / f"{name}.onnx"))
    return folder


def picture(
    faces: list[tuple[str, int, int, int]], height: int = 480, width: int = 640, seed: int = 0
) -> Tensor:
    """A gray IMAGE [1, height, width, 3] with faces (color, left, top, side).

    Who a face shows depends on the seed and its color only.
    """
    import torch

    canvas = np.full((height, width, 3), 128, np.uint8)
    for color, left, top, side in faces:
        canvas[top : top + side, left : left + side] = face(color, side, seed)
    return torch.from_numpy(canvas)[None].float() / 255


def face(color: str, side: int, seed: int) -> np.ndarray:
    from PIL import Image

    channel = COLORS.index(color)
    random = np.random.default_rng([seed, channel])
    pattern = random.integers(0, 70, (8, 8, 3), dtype=np.uint8)
    pattern[..., channel] = random.integers(190, 256, (8, 8))
    return np.asarray(Image.fromarray(pattern).resize((side, side), Image.Resampling.BILINEAR))


class Graph:
    """Collects nodes; arrays among the inputs become weights. The nodes have no names, because
    insightface reads them."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def __call__(self, operation: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        return self.several(operation, 1, *inputs, **attributes)[0]

    def several(
        self, operation: str, count: int, *inputs: str | np.ndarray, **attributes: Any
    ) -> list[str]:
        outputs = [f"{operation}_{len(self.nodes)}_{number}" for number in range(count)]
        names = [i if isinstance(i, str) else self.weight(i) for i in inputs]
        self.nodes.append(helper.make_node(operation, names, outputs, **attributes))
        return outputs

    def weight(self, values: np.ndarray) -> str:
        self.weights.append(from_array(values, f"weight_{len(self.weights)}"))
        return self.weights[-1].name

    def model(self, shape: list[Any], outputs: dict[str, list[Any]]) -> onnx.ModelProto:
        """Of one input, "picture", and outputs of these shapes; text is any size."""
        inputs = [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)]
        results = [helper.make_tensor_value_info(n, TensorProto.FLOAT, outputs[n]) for n in outputs]
        graph = helper.make_graph(self.nodes, "tiny", inputs, results, self.weights)
        opset = helper.make_opsetid("", 17)
        return helper.make_model(graph, ir_version=8, opset_imports=[opset])


def detector() -> onnx.ModelProto:
    """SCRFD's contract: scores [N, 1] of three strides, boxes [N, 4], points [N, 10]."""
    graph = Graph()
    channels = dict(zip(COLORS, graph.several("Split", 3, "picture", axis=1), strict=True))
    size = graph("Slice", graph("Shape", "picture"), np.array([2]), np.array([4]))  # height, width
    results = [detect(graph, channels, size, color) for color in COLORS]
    outputs = {
        names[kind]: [f"n_{names[kind]}", width]
        for kind, width in enumerate((1, 4, 10))
        for names in results
    }
    return graph.model([1, 3, "height", "width"], outputs)


def detect(graph: Graph, channels: dict[str, str], size: str, color: str) -> tuple[str, str, str]:
    """The face of one color, seen by the anchors of one stride. Pairs are (x, y)."""
    stride = STRIDES[color]
    others = graph("Max", *(channels[other] for other in COLORS if other != color))
    excess = graph("Sub", channels[color], others)
    mask = floats(graph, graph("Greater", excess, np.array(0.5, np.float32)))
    start, end = extent(graph, mask)
    sides = graph("Sub", end, start)
    side = graph("ReduceMax", sides, keepdims=0)
    seen = graph("Greater", graph("ReduceMax", mask, keepdims=0), np.array(0, np.float32))
    for bound, operation in zip(SIDES, ("GreaterOrEqual", "LessOrEqual"), strict=True):
        seen = graph("And", seen, graph(operation, side, np.array(bound)))

    number, cell = anchors(graph, size, stride)
    middle = graph("Div", graph("Add", start, end), np.array(2 * stride))
    same = graph("Cast", graph("Equal", cell, middle), to=TensorProto.INT64)
    both = graph("Equal", graph("ReduceSum", same, np.array([1])), np.array([2]))
    given = np.array([SCORES[color], SCORES[color] - 0.05], np.float32)
    given = graph("Unsqueeze", graph("Gather", given, number), np.array([1]))
    score = graph("Where", graph("And", both, seen), given, np.array(0, np.float32))

    scale = np.array(stride, np.float32)
    place = graph("Mul", floats(graph, cell), scale)
    corners = [
        graph("Sub", place, floats(graph, start)),
        graph("Sub", floats(graph, end), place),
    ]
    box = graph("Div", graph("Concat", *corners, axis=1), scale)
    marks = graph("Mul", POINTS / 112, floats(graph, sides))
    marks = graph("Reshape", graph("Add", marks, floats(graph, start)), np.array([1, 10]))
    points = graph("Sub", marks, graph("Concat", *[place] * len(POINTS), axis=1))
    return score, box, graph("Div", points, scale)


def extent(graph: Graph, mask: str) -> tuple[str, str]:
    """Where a mask [1, 1, H, W] begins and ends."""
    columns = graph("ReduceMax", mask, axes=[0, 1, 2], keepdims=0)
    rows = graph("ReduceMax", mask, axes=[0, 1, 3], keepdims=0)
    first = [graph("ArgMax", line) for line in (columns, rows)]
    last = [graph("ArgMax", line, select_last_index=1) for line in (columns, rows)]
    end = graph("Add", graph("Concat", *last, axis=0), np.array(1))
    return graph("Concat", *first, axis=0), end


def anchors(graph: Graph, size: str, stride: int) -> tuple[str, str]:
    """Two in each cell, row by row: which of the two [N], and the cell's column and row [N, 2]."""
    grid = graph("Div", size, np.array(stride))
    count = graph("Mul", graph("ReduceProd", grid, keepdims=0), np.array(2))
    index = graph("Range", np.array(0), count, np.array(1))
    cell = graph("Unsqueeze", graph("Div", index, np.array(2)), np.array([1]))
    across = graph("Gather", grid, np.array(1))
    column_row = [graph("Mod", cell, across), graph("Div", cell, across)]
    return graph("Mod", index, np.array(2)), graph("Concat", *column_row, axis=1)


def floats(graph: Graph, name: str) -> str:
    return graph("Cast", name, to=TensorProto.FLOAT)


def recognizer() -> onnx.ModelProto:
    """ArcFace's contract: an aligned face of 112 pixels to 512 numbers, whose length is not 1."""
    graph = Graph()
    pooled = graph("AveragePool", "picture", kernel_shape=[16, 16], strides=[16, 16])
    even = graph("Sub", pooled, graph("ReduceMean", pooled, axes=[2, 3]))
    weight = np.random.default_rng(0).standard_normal((147, 512)) * 20 / np.sqrt(147)
    identity = graph("MatMul", graph("Flatten", even), weight.astype(np.float32))
    return graph.model(["faces", 3, 112, 112], {identity: ["faces", 512]})


def gender_age() -> onnx.ModelProto:
    """A model of the published folders that has no use here."""
    graph = Graph()
    guess = graph("ReduceMean", "picture", axes=[2, 3], keepdims=0)
    return graph.model(["faces", 3, 96, 96], {guess: ["faces", 3]})
