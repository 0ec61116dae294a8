"""ECP5 block RAM with its output register: what synthesis tools do not infer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from amaranth.hdl import *
from amaranth.utils import ceil_log2

from .memory import REGISTERED_LATENCY, RamPorts, RomPorts, banks_of, chosen_bank

__all__ = ["BlockRam", "BlockRom", "rom_depth"]

_ADDRESS_BITS = 14
_WIDTHS = {512: 36, 1024: 18, 2048: 9, 4096: 4, 8192: 2, 16384: 1}
_BYTE = 9
_ALL_BYTES = Const(0, 0)
_BLOCK_WORTH = 50


class BlockRom(RomPorts):
    """``data = words[address]``, latency 2, one word a cycle: DP16KD with its output register.

    Where the blocks' shape (see `rom_depth`) is less deep than the contents, several banks of them
    are read at once, and a choice follows their registers.

    Parameters
    ----------
    words, width : see `RomPorts`.

    Members
    -------
    address, enable, data : see `Technology.rom`.
    """

    def __init__(self, words: Sequence[int], width: int) -> None:
        super().__init__(words, width, registered=True)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = rom_depth(len(self._words), len(self.data))
        low = self.address[: ceil_log2(depth)]
        banks: list[Signal] = []
        for n, words in enumerate(banks_of(self._words, depth)):
            data = Signal(len(self.data), name=f"bank_{n}")
            self._bank(m, f"bank_{n}", words, depth, low, data)
            banks.append(data)
        m.d.comb += self.data.eq(chosen_bank(
            m, banks, self.address[ceil_log2(depth) :], self.enable, REGISTERED_LATENCY))
        return m

    def _bank(self, m: Module, name: str, words: Sequence[int], depth: int, address: Value,
              data: Signal) -> None:
        """Blocks side by side that hold ``words``."""
        width = _WIDTHS[depth]
        mask = (1 << width) - 1
        for n, low in enumerate(range(0, len(data), width)):
            m.submodules[f"{name}_{n}"] = _block(
                m, width, [word >> low & mask for word in words],
                read=(address, self.enable, data[low : low + width]),
                write=(Const(0, 1), Const(0, 1), Const(0, width)))


class BlockRam(RamPorts):
    """``read_data = words[read_address]``, latency 2, one word a cycle: DP16KD, output register.

    Beyond 16,384 words there are banks of as many, all of which are read. What is written by itself
    takes whole bytes of 9 bits, of which a block has an enable each.

    Parameters
    ----------
    width, depth, granularity : see `RamPorts`.

    Members
    -------
    write_address, write_data, write_enable, read_address, read_enable, read_data : see
        `Technology.ram`.
    """

    def __init__(self, width: int, depth: int, granularity: int | None = None) -> None:
        super().__init__(width, depth, granularity=granularity, registered=True)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = min(max(_WIDTHS), self._depth)
        width = _block_width(depth)
        bits = ceil_log2(depth)
        fill = self._bank if self._granularity == self._width else self._bank_of_bytes
        banks: list[Signal] = []
        for number in range(-(-self._depth // depth)):
            data = Signal(self._width, name=f"bank_{number}")
            fill(m, f"bank_{number}", width, bits, self.write_address[bits:] == number, data)
            banks.append(data)
        m.d.comb += self.read_data.eq(chosen_bank(
            m, banks, self.read_address[bits:], self.read_enable, REGISTERED_LATENCY))
        return m

    def _bank(self, m: Module, name: str, width: int, bits: int, chosen: Value, data: Signal
              ) -> None:
        """Blocks side by side, addressed by so many ``bits``; what is read of them is ``data``."""
        write = self.write_enable & chosen
        for n, low in enumerate(range(0, self._width, width)):
            m.submodules[f"{name}_{n}"] = _block(
                m, width, [],
                read=(self.read_address[:bits], self.read_enable, data[low : low + width]),
                write=(self.write_address[:bits], write, self.write_data[low : low + width]))

    def _bank_of_bytes(self, m: Module, name: str, width: int, bits: int, chosen: Value,
                       data: Signal) -> None:
        """The same where parts of words are written: each begins a byte of its own."""
        byte = min(width, _BYTE)
        parts = [(enable, slice(low, min(low + byte, start + self._granularity)))
                 for start, enable in zip(range(0, self._width, self._granularity),
                                          self.write_enable, strict=True)
                 for low in range(start, start + self._granularity, byte)]
        for n in range(0, len(parts), width // byte):
            some = parts[n : n + width // byte]
            enables, read, write = Cat(one for one, _ in some), Signal(width), Signal(width)
            for k, (_, part) in enumerate(some):
                place = slice(k * byte, k * byte + part.stop - part.start)
                m.d.comb += [data[part].eq(read[place]), write[place].eq(self.write_data[part])]
            m.submodules[f"{name}_{n // (width // byte)}"] = _block(
                m, width, [], read=(self.read_address[:bits], self.read_enable, read),
                write=(self.write_address[:bits], chosen & enables.any(), write),
                enables=enables if width > byte else _ALL_BYTES)


def rom_depth(depth: int, width: int) -> int:
    """Depth of the blocks that hold ``depth`` words of ``width`` bits.

    Few blocks are good, and so are few banks: choosing between them takes look-up tables and, at
    the end of a long wire, time. A block weighs as much as ``_BLOCK_WORTH`` bits of a further bank.
    Of equally good ones it is the deepest.
    """
    def cost(block: int) -> int:
        banks = -(-depth // block)
        return banks * -(-width // _WIDTHS[block]) * _BLOCK_WORTH + (banks - 1) * width

    return min(_WIDTHS, key=lambda block: (cost(block), -block))


def _block_width(depth: int) -> int:
    """Data bits of the block's widest shape that is ``depth`` deep."""
    return next(width for words, width in _WIDTHS.items() if words >= depth)


def _block(m: Module, width: int, words: Sequence[int], *, read: tuple[Value, Value, Value],
           write: tuple[Value, Value, Value], enables: Value = _ALL_BYTES) -> Instance:
    """One DP16KD: port A writes, port B reads; ``read`` and ``write`` are address, enable, data.

    Of the bytes, those are written that ``enables`` says, and those beyond it.

    At 36 bits both halves of a word's data pins serve the one port in use, so both ports get the
    same clock, output register and output enable.
    """
    read_address, read_enable, read_data = read
    write_address, write_enable, write_data = write
    data_in, data_out = Signal(36), Signal(36)
    aligned = width.bit_length() - 1 if width < 9 else (width // 9).bit_length() + 2
    ports: dict[str, Value] = {}
    for port, address in (("A", write_address), ("B", read_address)):
        # Below the address, port A has byte enables.
        rest = aligned - len(enables)
        below = (Cat(enables, Const((1 << rest) - 1, rest)) if port == "A"
                 else Const(0, aligned))
        bits = Cat(below, address)
        padded = Cat(bits, Const(0, _ADDRESS_BITS))[:_ADDRESS_BITS]
        ports |= {f"i_AD{port}{n}": bit for n, bit in enumerate(padded)}
        ports |= {f"i_CS{port}{n}": Const(0) for n in range(3)}
        ports |= {f"i_CLK{port}": ClockSignal(), f"i_RST{port}": Const(0),
                  f"i_OCE{port}": read_enable}
    for n in range(18):
        ports |= {f"i_DIA{n}": data_in[n], f"i_DIB{n}": data_in[n + 18],
                  f"o_DOA{n}": data_out[n], f"o_DOB{n}": data_out[n + 18]}
    m.d.comb += [data_in.eq(write_data),
                 read_data.eq(data_out if width == 36 else data_out[18:])]
    parameters = {f"p_INITVAL_{n:02X}": value for n, value in enumerate(_contents(words, width))}
    return Instance(
        "DP16KD", p_DATA_WIDTH_A=width, p_DATA_WIDTH_B=width,
        p_REGMODE_A="OUTREG", p_REGMODE_B="OUTREG", p_RESETMODE="SYNC",
        p_ASYNC_RESET_RELEASE="SYNC", p_CSDECODE_A="0b000", p_CSDECODE_B="0b000",
        p_WRITEMODE_A="NORMAL", p_WRITEMODE_B="NORMAL", p_GSR="DISABLED",
        i_CEA=write_enable, i_WEA=Const(1), i_CEB=read_enable, i_WEB=Const(0),
        **ports, **parameters)


def _contents(words: Sequence[int], width: int) -> Iterator[Const]:
    """The 64 INITVAL parameters: 16 rows of 18 bits each, at a distance of 20 bits.

    Words narrower than 9 bits lie in the low 8 bits of each 9.
    """
    image = 0
    for n, word in enumerate(words):
        place = width * n if width >= 9 else 9 * (n * width // 8) + n * width % 8
        image |= word << place
    mask = (1 << 18) - 1
    for row in range(0, 1024, 16):
        yield Const(sum((image >> 18 * (row + n) & mask) << 20 * n for n in range(16)), 320)
