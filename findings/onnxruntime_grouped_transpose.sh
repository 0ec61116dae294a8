#!/bin/sh
# quantize_static of ONNX Runtime 1.32 cannot quantize a grouped ConvTranspose by channel.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6 from PyPI, Python 3.11, Debian 12.
#
# A ConvTranspose of two groups, 4 channels to 6, with a bias, is a valid node; its weight is
# (channels in, channels out / groups, height, width). With per_channel=True quantize_static gives
# the weight a scale for each index of its second axis, of which there are 3, and divides the bias,
# which has 6 values, by them. That raises a ValueError of NumPy. Without groups, or with one scale
# for the whole weight, the same call writes a file.
#
# Output seen:
#   groups 1, by tensor: written
#   groups 1, by channel: written
#   groups 2, by tensor: written
#   groups 2, by channel: ValueError
#
# It exits with 0 while this is so, and with 1 once it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6

cat > run.py <<'END'
import logging

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

logging.disable(logging.WARNING)


class Frames(CalibrationDataReader):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.left = iter([{"x": rng.normal(size=(1, 4, 5, 5)).astype(np.float32)}] * 2)

    def get_next(self):
        return next(self.left, None)


def write_model(groups):
    rng = np.random.default_rng(1)
    arrays = {"w": rng.normal(size=(4, 6 // groups, 3, 3)), "b": rng.normal(size=6)}
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], group=groups)
    graph = helper.make_graph(
        [node], "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 5, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, 7, 7])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, "float.onnx")


for groups in (1, 2):
    write_model(groups)
    for name, by_channel in (("by tensor", False), ("by channel", True)):
        try:
            quantize_static("float.onnx", "whole.onnx", Frames(), per_channel=by_channel)
            found = "written"
        except ValueError:
            found = "ValueError"
        print(f"groups {groups}, {name}: {found}")
END
venv/bin/python run.py > found
cat found
cat > wanted <<'END'
groups 1, by tensor: written
groups 1, by channel: written
groups 2, by tensor: written
groups 2, by channel: ValueError
END
cmp -s found wanted
