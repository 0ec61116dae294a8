#!/bin/sh
# Yosys 0.70 loses what drives a bit of a wire with `keep`, where a module stands twice.
#
# Versions: pyosys 0.70 from PyPI, Python 3.11, Debian 12.
#
# A module has a kept wire, of which two bits are registers and one is a function of registers; a
# register behind it takes all three. Two instances with equal inputs are merged. After
# `synth_ecp5` the flip-flop of the third bit has an input that is undefined, 1'hx, with abc9 and
# without; its outputs are wrong, and nothing is said. With one instance, or without `keep` on the
# second wire, there is none.
#
# Output seen:
#   kept, two instances: 1 flip-flop of an undefined input
#   kept, one instance: 0
#   not kept, two instances: 0
#
# It exits with 0 while this is so, and with 1 once it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyosys==0.70

cat > run.py <<'END'
import sys

from pyosys import libyosys as ys

KEEP = '(* keep = "true" *)'
MODULE = """
module part(input clk, input [2:0] a, input [2:0] b, output reg [2:0] p);
  {first} wire [2:0] sum;
  {second} wire [2:0] all_bits;
  reg [2:0] held, wide;
  reg gate;
  assign sum = (a & {{3{{b[0]}}}}) ^ ((a & {{3{{b[1]}}}}) << 1);
  assign all_bits = {{held[2] ^ (wide[0] & gate), held[1:0]}};
  always @(posedge clk) begin
    held <= sum;
    wide <= a;
    gate <= b[2];
    p <= all_bits;
  end
endmodule
"""
TOP = "module top(input clk, input [2:0] a, input [2:0] b{ports});\n{parts}endmodule\n"
second, count = sys.argv[1], int(sys.argv[2])
with open("design.v", "w") as file:
    file.write(MODULE.format(first=KEEP, second=KEEP if second == "kept" else ""))
    file.write(TOP.format(ports="".join(f", output [2:0] p{n}" for n in range(count)),
                          parts="".join(f"  part part{n}(clk, a, b, p{n});\n"
                                        for n in range(count))))
design = ys.Design()
for command in ("read_verilog design.v", "synth_ecp5 -top top", "write_verilog -noattr out.v"):
    ys.run_pass(f"tee -q -o log {command}", design)
END
undefined() {
    venv/bin/python run.py "$@" > run.log
    grep -c "\.DI(1'hx)" out.v || true
}
kept=$(undefined kept 2)
one=$(undefined kept 1)
plain=$(undefined plain 2)
echo "kept, two instances: $kept flip-flop of an undefined input"
echo "kept, one instance: $one"
echo "not kept, two instances: $plain"
[ "$kept" = 1 ] && [ "$one" = 0 ] && [ "$plain" = 0 ]
