#!/bin/sh
# Yosys 0.70 loses the last of two nonblocking assignments inside a choice.
#
# Versions: pyosys 0.70 from PyPI, Python 3.11, Debian 12.
#
# Two modules have one register each. Where f is 0, the first assigns d to it if c is 1, and
# then e in any case; the second only assigns e. Of several nonblocking assignments in one block
# the last counts (IEEE 1364-2005, 11.4.1), so that both modules are the same. After `proc` they are
# not: the first register gets d where c is 1. Without the outer `if`, the result is right.
#
# Output seen:
#   inside a choice: c ? d : e
#   without one: e
#
# It exits with 0 while this is so, and with 1 once it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyosys==0.70

cat > design.v <<'END'
module chosen(input clk, f, c, d, e, output reg q);
  always @(posedge clk)
    if (!f) begin
      if (c) q <= d;
      q <= e;
    end
endmodule

module plain(input clk, f, c, d, e, output reg q);
  always @(posedge clk) begin
    if (c) q <= d;
    q <= e;
  end
endmodule
END
cat > run.py <<'END'
from pyosys import libyosys as ys

design = ys.Design()
for command in ("read_verilog design.v", "proc", "opt", "write_verilog -noattr out.v"):
    ys.run_pass(f"tee -q -o log {command}", design)
END
venv/bin/python run.py
inside=$(sed -n '/^module chosen/,/^endmodule/s/.*assign .* = \(c ? d : e\);/\1/p' out.v)
without=$(sed -n '/^module plain/,/^endmodule/s/.*q <= \(.*\);/\1/p' out.v)
echo "inside a choice: ${inside:-something else}"
echo "without one: ${without:-something else}"
[ "$inside" = "c ? d : e" ] && [ "$without" = "e" ]
