"""What the engine that walks entries costs, its entries left out."""

from __future__ import annotations

from ....hdl.dot_product import WAY_LATENCY
from ....hdl.fill import Spelling
from ....hdl.tile_shape import READ_STAGES, TileShape
from ...cost import Fabric, Memory, Resources, Storage, arithmetic, memories, streams
from ...cost.memories import index_bits
from ..site import Site
from . import constants
from .engine import bias_bits, multiplies


def results_memory(shape: TileShape, site: Site, storage: Storage) -> Memory:
    """What holds the results of tiles until it is their turn."""
    return Memory("results", shape.result_words, shape.piece_lanes * site.result.bits, storage,
                  shape.pe)


def buffer_cells(fabric: Fabric, shape: TileShape, bits: int, storage: Storage) -> Resources:
    """Cells of the banks, their addresses, and the choice of inputs of ``bits`` bits."""
    logic, lanes, (banks, columns) = fabric.logic, shape.lanes, shape.banks
    address, count = index_bits(shape.bank_words), shape.count_bits
    turns = len({offset.turn for offset in shape.offsets})
    moves = shape.column_words > 1 and len({(offset.word, offset.turn)
                                            for offset in shape.offsets}) > 1
    # Of each element: tap, row and column word; of each lane: its address, or the choice of one of
    # two memories, its input, its padding.
    chosen = (shape.parity_bits * bits * shape.word if shape.wide
              else moves * index_bits(shape.column_words))
    element = Resources(
        luts=round(fabric.sums(index_bits(shape.rows)) + 2 * fabric.sums(
            index_bits(shape.column_words))
            + lanes * (chosen * logic.mux + shape.parity_bits
                       + bits * logic.mux * (shape.word - 1 + turns - 1)
                       + bits * logic.pad * any(shape.padding))),
        ffs=shape.place_bits + 2 * address + lanes * (bits + 4 + 2 * shape.parity_bits))
    copies = memories.ram(fabric, storage, shape.bank_words, bits * shape.word, columns) * banks
    counters = sum(map(index_bits, (shape.pixel_words, shape.size[1], lanes, shape.column_words,
                                    *shape.positions)))
    return (fabric.control.window.cells + (element + copies) * shape.pe
            + Resources(luts=round(fabric.sums(count, 6) + fabric.counters(2 * counters)),
                        ffs=6 * count + 2 * counters + address + bits * shape.word
                        + (lanes << shape.parity_bits)))


def sum_cells(fabric: Fabric, shape: TileShape, site: Site, dsps: int) -> Resources:
    """Cells of the multipliers, of which ``dsps`` are DSP blocks, and of the sums."""
    a_bits, weights = site.source.widened.bits, multiplies(site).weights
    total, products = site.result.bits, shape.pe * shape.lanes
    bias = constants.in_slots(
        fabric, shape, total if shape.loaded else min(total, bias_bits(site)))
    sums = fabric.sums(total, products) + products * total * fabric.logic.mux
    ffs = (products * total + dsps * (a_bits + weights.bits) + (products - dsps) * 2 * a_bits
           + shape.pe * (READ_STAGES + WAY_LATENCY) * (weights.bits + 3))
    return (bias + Resources(luts=round(sums), ffs=ffs, dsps=dsps)
            + arithmetic.multiplier(fabric, a_bits, weights.bits) * (products - dsps))


def results_cells(fabric: Fabric, shape: TileShape, site: Site, storage: Storage) -> Resources:
    """Cells of what puts results in order."""
    memory, total = results_memory(shape, site, storage), site.result.bits
    choice = (shape.pe * (shape.piece_lanes - 1) + shape.o_lanes * (shape.pe - 1)) * total
    order = index_bits(shape.pixel_beats), index_bits(shape.lanes), index_bits(shape.tiles)
    # What waits to come in is loaded, or moves up.
    waiting = shape.lanes * total if shape.pieces > 1 else 0
    moved = (waiting - waiting // shape.pieces) * shape.pe
    if shape.dealt:
        spelling = Spelling(shape.o_lanes, shape.source_bits + shape.slot_bits)
        tables = constants.filler(fabric, shape.pixel_beats, spelling) + memories.ram(
            fabric, constants.loose(fabric), shape.pixel_beats, spelling.width)
    else:
        tables = memories.rom(fabric, Storage.LOGIC, shape.pixel_beats,
                              shape.o_lanes * shape.source_bits + shape.pe * shape.slot_bits)
    depth, counters = shape.results.queue_depth, sum(order) + shape.pe * index_bits(shape.slots)
    return (memories.ram(fabric, storage, memory.words, memory.width) * shape.pe
            + (tables if shape.pe > 1 else Resources())
            + streams.queue(fabric, depth, shape.o_lanes * total + 1)
            + streams.admission(fabric, depth=shape.results.depth, room=depth)
            + fabric.control.engine.cells
            + Resources(luts=round((choice + moved) * fabric.logic.mux
                                   + fabric.counters(counters)),
                        ffs=(shape.pe + shape.o_lanes) * total + counters + waiting * shape.pe
                        + (shape.pieces > 1) * shape.pe * index_bits(shape.result_words)))
