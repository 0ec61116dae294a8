"""Recipes: what a file may say, and the one line about what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from penjing.compiler.compress import recipe
from penjing.compiler.compress.codebooks import Start
from penjing.compiler.compress.recipe import parse
from penjing.compiler.compress.steps import Channels, Prune, Ranking, Share, Timing, Train
from penjing.compiler.ir import PenjingError

WHOLE = """
seed = 7
about = "all of it"
batch = 32
epochs = 2

[[step]]
do = "prune"
ratio = 0.8
criterion = "layer-adaptive"
timing = "gradual"
every = 20
layers = { conv1 = 0.5, "block.0" = 0 }

[[step]]
do = "channels"
epochs = 0
ratio = 0.25
round_to = 4

[[step]]
do = "share"
codes = 32
start = "exact"
layers = { dense = 16 }
distil = 1
maps = 2
blend = 0.5

[[step]]
do = "train"
learning_rate = 1
"""


def test_all_keys_arrive() -> None:
    made = parse(WHOLE, "r.toml")
    assert (made.seed, made.about) == (7, "all of it")
    assert made.steps == (
        Prune(epochs=2, batch=32, ratio=0.8, layers={"conv1": 0.5, "block.0": 0.0}, every=20,
              criterion=Ranking.LAYER_ADAPTIVE, timing=Timing.GRADUAL),
        Channels(epochs=0, batch=32, ratio=0.25, round_to=4),
        Share(epochs=2, batch=32, codes=32, start=Start.EXACT, layers={"dense": 16}, distil=1.0,
              maps=2.0, blend=0.5),
        Train(epochs=2, batch=32, learning_rate=1.0))


@pytest.mark.parametrize("name", recipe.names())
def test_ready_recipes_are_fit(name: str) -> None:
    made = recipe.read(name)
    assert made.about and made.steps


def test_there_are_the_ready_ones() -> None:
    assert recipe.names() == ["deep-compression", "layer-adaptive", "slim-channels", "surgeon",
                              "two-four"]


STEP = '[[step]]\ndo = "prune"\n'


@pytest.mark.parametrize(("text", "message"), [
    ("seed = ", "no TOML"),
    ("seed = 1", r"a recipe has a table \[\[step\]\] for each step"),
    ("step = 3", r"a recipe has a table \[\[step\]\] for each step"),
    ("ration = 0.5\n" + STEP, "'ration' is no key of a recipe; there are seed, about, step"),
    ('seed = -1\n' + STEP, "seed must be an integer from 0 to 2.*, not -1"),
    ('seed = true\n' + STEP, "seed must be an integer from 0 to 2.*, not True"),
    ('about = 1\n' + STEP, "about must be text"),
    ('[[step]]\nratio = 0.5', "step 1: do must be one of prune, operate, channels, blocks"),
    ('[[step]]\ndo = "prun"', "step 1: do must be one of prune, operate, channels, blocks"),
    (STEP + STEP + "codes = 3", "step 2: 'codes' is no key of prune; there are epochs"),
    (STEP + "ratio = 1.0", "step 1: ratio must be at least 0 and below 1, not 1"),
    (STEP + "layers = { a = 2 }", "step 1: ratio must be at least 0 and below 1, not 2"),
    (STEP + "layers = 0.5", "layers must be a table of layers such as { conv1 = 0.5 }, not 0.5"),
    (STEP + "layers = { a.b = 0.5 }", "step 1: layers: a.b has a dot; layers' names have _ where"),
    (STEP + 'layers = { a = "x" }', "step 1: layers.a must be a number, not 'x'"),
    (STEP + 'ratio = "half"', "step 1: ratio must be a number, not 'half'"),
    (STEP + "ratio = nan", "step 1: ratio must be a number, not nan"),
    (STEP + f"ratio = {10 ** 400}", "step 1: ratio must be a number, not 1000"),
    (STEP + f"every = {1 << 63}", "step 1: every must be an integer, not 9223372036854775808"),
    (STEP + f"ratio = {'1' * 5000}", "no TOML"),
    (STEP + "epochs = 1.5", "step 1: epochs must be an integer, not 1.5"),
    (STEP + "epochs = -1", "step 1: epochs must be 0 to 1048576, not -1"),
    (STEP + "together = 1", "step 1: together must be true or false, not 1"),
    (STEP + 'criterion = "best"', "step 1: criterion must be one of magnitude, square"),
    (STEP + 'unit = "row"', "step 1: unit must be one of weight, vector, kernel, channel, layer"),
    (STEP + 'timing = "gradual"', "step 1: timing gradual prunes while it trains; give epochs"),
    (STEP + 'timing = "iterative"\nepochs = 1\nunit = "2:4"', "n of m weights, and those below"),
    (STEP + "together = true\nlayers = { a = 0.5 }",
     "no ratios of their own.*give 0 to those that stay whole"),
    (STEP + 'unit = "layer"', "step 1: unit layer takes whole layers.*say together = true"),
    (STEP + 'unit = "4:4"', "n of m channels with 1 <= n < m <= 16, not 4:4"),
    (STEP + 'unit = "2:17"', "n of m channels with 1 <= n < m <= 16, not 2:17"),
    (STEP + 'unit = "0:2"', "n of m channels with 1 <= n < m <= 16, not 0:2"),
    (STEP + "below = -1", "step 1: below must be at least 0, not -1"),
    (STEP + "together = true", "magnitude cannot rank weights of different layers together; take"),
    (STEP + 'together = true\ncriterion = "deviations"\nbelow = 1', "together ranks by a ratio"),
    (STEP + 'unit = "2:4"\nlayers = { a = 0.5 }', "layers take no ratio where n of m weights"),
    (STEP + "below = 1\nlayers = { a = 0.5 }", "layers take no ratio where n of m weights"),
    ("codes = 4\n" + STEP, "codes is a default of no step here; take it away"),
    ('[[step]]\ndo = "blocks"\nnames = "add"', "step 1: names must be a list of names, not 'add'"),
    ('[[step]]\ndo = "blocks"\nnames = [1]', "step 1: names must be text, not 1"),
    ('[[step]]\ndo = "blocks"\nnames = ["a", "a"]', "step 1: names must be different blocks"),
    ('[[step]]\ndo = "blocks"\ncount = 0', "step 1: count must be 1 to 1000, not 0"),
    (STEP + "learning_rate = 0", "learning_rate must be 1e-12 to 1000, not 0"),
    (STEP + "distil = 2", "step 1: distil must be 0 to 1, not 2"),
    (STEP + "distil = 1\nblend = 2", "step 1: blend must be 0 to 1, not 2"),
    (STEP + "distil = 0.9\nblend = 0.5", "step 1: labels say nothing of images.*say distil = 1"),
    (STEP + "maps = -1", "step 1: maps must be 0 to 1000000, not -1"),
    (STEP + '[[step]]\ndo = "inputs"', "step 2: inputs fits weights anew, and what step 1 sets to"),
    ('[[step]]\ndo = "operate"\n[[step]]\ndo = "train"\n[[step]]\ndo = "low-rank"',
     "step 3: low-rank fits weights anew, and what step 1 sets to 0 would not stay so; let it"),
    ('[[step]]\ndo = "operate"\nsamples = 0', "step 1: samples must be 1 to 1048576, not 0"),
    ('[[step]]\ndo = "operate"\ntogether = true\nlayers = { a = 0.5 }',
     "step 1: layers have no ratios of their own where they are pruned together; give 0 to those"),
    ('[[step]]\ndo = "share"\ncodes = 1', "step 1: codes must be 2 to 256, not 1"),
    ('[[step]]\ndo = "share"\n' + STEP, "step 2: prune comes behind share; only train can"),
    (STEP + "temperature = 1e200", "step 1: temperature must be 0.001 to 1000000, not 1e.200"),
    (STEP + "learning_rate = 1e38", "step 1: learning_rate must be 1e-12 to 1000, not 1e.38"),
    (f"seed = 0x{'f' * 5000}\n" + STEP, "seed must be an integer from 0 to .*, not that int"),
    (STEP + f"epochs = 0x{'f' * 5000}", "step 1: epochs must be an integer, not that int"),
    (STEP + f"layers{'.a' * 3000} = 1", "no TOML|layers: a.a has a dot"),
    (f"seed{'.a' * 3000} = 1\n" + STEP, "no TOML|seed must be an integer from 0 .*, not that dict"),
    (STEP + f'layers."{"n" * 9000}" = "x"', "step 1: layers.'n{39} must be a number, not 'x'"),
    (STEP + 'layers."a\\nb" = "x"', r"step 1: layers.'a\\nb' must be a number, not 'x'"),
    (2 * '[[step]]\ndo = "blocks"\nnames = ["add"]\n', "step 2: .*; name all of them in one step"),
])
def test_what_is_wrong_is_one_line(text: str, message: str) -> None:
    with pytest.raises(PenjingError, match=message) as raised:
        parse(text, "r.toml")
    assert str(raised.value).startswith("r.toml: ")
    assert "\n" not in str(raised.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(PenjingError, match=r"no recipe can be read .*give a TOML file, or one of"):
        recipe.read(tmp_path / "none.toml")
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + STEP.encode())
    assert recipe.read(tmp_path / "marked.toml").steps == (Prune(),)
    (tmp_path / "long.toml").write_text(f"{STEP}#{'x' * recipe.MAX_BYTES}\n{STEP}")
    with pytest.raises(PenjingError, match="a recipe has 1 MiB at most; shorten it"):
        recipe.read(tmp_path / "long.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PenjingError, match="no recipe can be read"):
        recipe.read(tmp_path / "bytes.toml")
