#!/usr/bin/env bash
# Tool: LiteRT 2.3 (ai-edge-litert from PyPI), its reference kernels.
#
# Behaviour: a file with an ELU of floats, or with version 3 of TILE as today's converters write it,
# runs with OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES and is refused by
# OpResolverType.BUILTIN_REF: "Didn't find op for builtin opcode". The reference resolver registers
# neither, so it is no reference for every file that the default one runs.
#
# Seen with ai-edge-litert 2.3.0, flatbuffers 25.12.19, numpy 2.4.6, Python 3.11, 2026-11-28:
#   ELU  without delegates: [-0.63212055  1.        ]   reference: refused
#   TILE without delegates: [-1.  1. -1.  1.]   reference: refused
#
# Exit status 0 while this is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def file(kind, version, outputs, constant=None):
    """A network of one operator on two floats."""
    def tensor(name, shape, number, buffer):
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, number, buffer
        return made

    graph, code, operator = schema.SubGraphT(), schema.OperatorCodeT(), schema.OperatorT()
    graph.tensors = [tensor("x", [2], schema.TensorType.FLOAT32, 0),
                     tensor("y", [outputs], schema.TensorType.FLOAT32, 0)]
    buffers = [schema.BufferT()]
    operator.inputs, operator.outputs = [0], [1]
    if constant is not None:
        buffers.append(schema.BufferT())
        buffers[1].data = np.frombuffer(np.array(constant, np.int32).tobytes(), np.uint8)
        graph.tensors.append(tensor("c", [len(constant)], schema.TensorType.INT32, 1))
        operator.inputs = [0, 2]
    number = getattr(schema.BuiltinOperator, kind)
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, number, version
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [1]
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers = buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(content, resolver):
    try:
        interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        assert "Didn't find op" in str(error), error
        return None
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"],
                           np.array([-1, 1], np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


same = True
for kind, content in (("ELU", file("ELU", 1, 2)), ("TILE", file("TILE", 3, 4, [2]))):
    plain = run(content, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    reference = run(content, OpResolverType.BUILTIN_REF)
    print(f"{kind:4} without delegates: {plain}   reference: "
          f"{'refused' if reference is None else reference}")
    same = same and plain is not None and reference is None
sys.exit(0 if same else "this has changed")
PYTHON
