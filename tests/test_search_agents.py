"""Agents of a search on costs and accuracies that are worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import pytest
import torch
from penjing.compiler.compress.search.agents import Agent
from penjing.compiler.compress.search.amc import NO_REWARD, Amc, features, reward
from penjing.compiler.compress.search.baselines import Optuna, RandomSearch, Uniform, projected
from penjing.compiler.compress.search.ddpg import Learner, Rates
from penjing.compiler.compress.search.limits import Aim, parse
from penjing.compiler.compress.search.netadapt import NetAdapt
from penjing.compiler.compress.search.runs import run
from penjing.compiler.compress.search.space import Choice, Knob, Space, Trial, best
from penjing.compiler.dataflow.budget import TooSmall
from penjing.compiler.dataflow.pricing import Cost
from penjing.compiler.ir import PenjingError

KNOBS = tuple(Knob(name, (2, 4, 6, 8, 10), (number, 10.0 * number, 1.0), work)
              for number, (name, work) in enumerate((("a", 100.0), ("b", 300.0), ("c", 50.0))))
WORTH = (0.05, 0.01, 0.001)
"""What each level that is lost of a knob costs of the accuracy."""

pytestmark = pytest.mark.usefixtures("one_thread")


class Made:
    """A network that is no more than its levels."""

    @property
    def knobs(self) -> tuple[Knob, ...]:
        return KNOBS

    def integers(self, choice: Choice) -> Any:
        return choice

    def made(self, choice: Choice) -> Any:
        return choice

    def accuracy(self, choice: Choice) -> float:
        return 0.9 - sum(cost * (4 - index) for cost, index in zip(WORTH, choice, strict=True))


def cost(cycles: int, **more: int) -> Cost:
    held = {"luts": 0, "ffs": 0, "dsps": 0, "brams": 0, "multipliers": 0, "weight_bits": 0,
            "price": 0, **more}
    return Cost(cycles=cycles, frames_per_second=1e8 / cycles, **held)


def price(network: Any) -> Cost:
    """Work as the shares of all knobs, a cycle each; the smallest networks are too small."""
    return cost(round(sum(knob.work * knob.share(index)
                          for knob, index in zip(KNOBS, network, strict=True))))


def space(aim: Aim) -> Space:
    return Space(cast(Any, Made()), price, aim)


HALF = Aim({"cycles": 225})


def trials(agent: Agent, of: Space) -> list[Trial]:
    return run(agent, of, lambda choices: [of.environment.accuracy(one) for one in choices])


def test_limits_are_read() -> None:
    aim = parse(["cycles=100", "frames=5e3", "luts=20"])
    assert (aim.most, aim.frames) == ({"cycles": 100.0, "luts": 20.0}, 5000.0)
    # Twice the cycles, a fifth of the frames a second: 1e8 / 200 are 500,000.
    assert aim.excess(cost(200, luts=10)) == 2.0
    assert parse(["frames=1e6"]).excess(cost(200)) == 2.0
    assert parse(["luts=20"]).excess(cost(200, luts=10)) == 0.5
    assert not aim.fits(None)


@pytest.mark.parametrize(("limits", "minimize", "why"), [
    ((), None, "no limit"), (("speed=1",), None, "limit speed=1: give NAME=NUMBER"),
    (("cycles",), None, "give NAME=NUMBER"), (("cycles=much",), None, "give NAME=NUMBER"),
    (("cycles=nan",), None, "give NAME=NUMBER"), (("cycles=0",), None, "must be above 0"),
    (("cycles=inf",), None, "must be above 0"), (("frames=-1",), None, "must be above 0"),
    (("cycles=1", "cycles=2"), None, "given twice"), (("accuracy=0.5",), None, "accuracy"),
    (("accuracy=90",), "luts", "a share from 0 to 1"), (("cycles=1",), "speed", "cannot be")])
def test_bad_limits(limits: Sequence[str], minimize: str | None, why: str) -> None:
    with pytest.raises(PenjingError, match=why):
        parse(limits, minimize)


def test_limits_of_accuracy_must_be_kept() -> None:
    aim = Aim({"cycles": 100}, accuracy=0.7, minimize="luts")
    assert aim.kept(0.7, cost(100))
    assert not aim.kept(0.69, cost(100))
    assert not aim.kept(0.7, cost(101))
    assert not aim.kept(1.0, None)


def test_what_is_best() -> None:
    few, many, wrong = (Trial((0,), accuracy, cost(cycles)) for accuracy, cycles in (
        (0.8, 50), (0.9, 90), (0.95, 300)))
    none = Trial((0,), 1.0, None)
    assert best([few, many, wrong, none], Aim({"cycles": 100})) is many
    assert best([few, many, wrong, none], Aim(accuracy=0.7, minimize="cycles")) is few
    assert best([few, many, wrong, none], Aim(accuracy=0.85, minimize="cycles")) is many
    # Where none is accurate enough, the most accurate is the nearest.
    assert best([few, many], Aim(accuracy=0.99, minimize="cycles")) is many
    assert best([none], Aim({"cycles": 100})) is None


def test_levels_and_shares() -> None:
    assert [KNOBS[0].at_least(share) for share in (0, 0.2, 0.21, 0.6, 0.61, 1, 2)] == [
        0, 0, 1, 2, 3, 4, 4]
    assert features(KNOBS) == [(0.0, 0.0, 1.0), (0.5, 0.5, 1.0), (1.0, 1.0, 1.0)]


def test_uniform_takes_the_largest_equal_share() -> None:
    # Of 450, 0.4 are 180 and 0.6 are 270.
    (trial,) = trials(Uniform(space(HALF)), space(HALF))
    assert trial.choice == (1, 1, 1)
    assert trial.cost == cost(180)


def test_uniform_tries_all_equal_shares_for_the_least_cost() -> None:
    least = space(Aim({"cycles": 300}, accuracy=0.7, minimize="cycles"))
    found = trials(Uniform(least), least)
    # 270, 180 and 90 of 450 cycles; each level costs 0.061.
    assert [trial.choice for trial in found] == [(2, 2, 2), (1, 1, 1), (0, 0, 0)]
    chosen = best(found, least.aim)
    assert chosen is not None
    assert chosen.choice == (1, 1, 1)


def test_what_is_too_large_is_scaled_down() -> None:
    half = space(HALF)
    assert projected(half, (4, 0, 4)) == (4, 0, 4)  # 100 + 60 + 50
    found = projected(half, (4, 4, 4))
    assert half.fits(found)
    assert found == (1, 1, 1)


def test_netadapt_lets_those_pay_that_bear_it() -> None:
    """Of a: 0.05 for 20 cycles, of b: 0.01 for 60, of c: 0.001 for 10."""
    half = space(HALF)
    found = trials(NetAdapt(half), half)
    assert found[0].choice == (4, 4, 4)
    chosen = best(found, HALF)
    assert chosen is not None
    # c goes first, then b: with its second level, 100 + 120 + 10 are still above 225. With the
    # first, c can have all its channels again.
    assert (4, 0, 0) in {trial.choice for trial in found}
    assert chosen.choice == (4, 0, 4)
    assert chosen.accuracy == pytest.approx(0.86)


def test_netadapt_sets_out_where_a_board_holds_the_network() -> None:
    """The whole network, and all of more than 400 cycles, fit no plan."""
    def small(network: Any) -> Cost:
        if price(network).cycles > 400:
            raise TooSmall("network: it needs 9 LUTs")
        return price(network)

    aim = Aim(accuracy=0.75, minimize="cycles")
    of = Space(cast(Any, Made()), small, aim)
    tried = trials(NetAdapt(of), of)
    assert [trial.choice for trial in tried[:2]] == [(4, 4, 4), (3, 3, 3)]  # 450, 360
    found = best(tried, aim)
    assert found is not None
    # 0.9 less 0.1 of a, 0.04 of b and 0.004 of c.
    assert (found.choice, found.accuracy) == ((2, 0, 0), pytest.approx(0.756))


def test_netadapt_minimizes_as_far_as_the_accuracy_bears() -> None:
    aim = Aim(accuracy=0.85, minimize="cycles")
    of = space(aim)
    found = best(trials(NetAdapt(of), of), aim)
    assert found is not None
    assert found.choice == (4, 0, 0)  # a level of a would cost 0.05


def test_netadapt_minimizes_hardware_that_makes_no_more_frames_than_it_must() -> None:
    """Each plan makes just as many, so what they exceed tells nothing."""
    aim = Aim(frames=1e6, accuracy=0.85, minimize="luts")
    of = Space(cast(Any, Made()), lambda network: cost(100, luts=price(network).cycles), aim)
    found = best(trials(NetAdapt(of), of), aim)
    assert found is not None
    assert found.choice == (4, 0, 0)


def test_noise_may_fade_away() -> None:
    learner = Learner(3, 2, Rates(warm_up=0, decay=0.99), 1)
    assert learner._truncated(0.25, 0.0) == 0.25


def test_no_episode_of_amc_is_beyond_the_wall() -> None:
    of = space(HALF)
    agent = Amc(of, 30, seed=1)
    found = trials(agent, of)
    assert len(found) == agent.episodes == 30
    assert all(of.fits(trial.choice) for trial in found)
    assert len({trial.choice for trial in found}) > 5


def test_the_wall_is_the_highest_level_that_leaves_the_rest_enough() -> None:
    agent = Amc(space(HALF), 1, seed=1)
    # With c at its least, 10: a at 100 leaves b 115, which its first level, 60, keeps to.
    assert agent._below_wall([4, 0, 0], 1, 4) == 0
    # a at 20: b may have 195, of which 180 is its third level.
    assert agent._below_wall([0, 0, 0], 1, 4) == 2
    assert agent._below_wall([0, 0, 0], 1, 1) == 1


def test_rewards() -> None:
    assert reward(Trial((0, 0, 0), 0.7, cost(200)), HALF) == 0.7
    assert reward(Trial((0, 0, 0), 0.7, cost(300)), HALF) == NO_REWARD
    assert reward(Trial((0, 0, 0), 0.7, None), HALF) == NO_REWARD
    least = Aim(minimize="cycles")
    assert reward(Trial((0, 0, 0), 0.75, cost(99)), least) == pytest.approx(-0.25 * math.log(100))
    assert reward(Trial((0, 0, 0), 1.0, cost(99)), least) == pytest.approx(-1e-3 * math.log(100))


def test_a_learner_learns() -> None:
    """One step whose reward is highest at 0.8."""
    learner = Learner(1, 1, Rates(warm_up=40, decay=0.97), seed=3)
    actions = []
    for _ in range(200):
        action = learner.action((1.0,))
        assert 0 <= action <= 1
        learner.learn([(1.0,)], [action], 1 - abs(action - 0.8))
        actions.append(action)
    assert abs(sum(actions[:40]) / 40 - 0.5) < 0.15
    late, early = (sum(abs(action - 0.8) for action in some) / len(some)
                   for some in (actions[-20:], actions[:40]))
    assert late < early / 2


def test_what_a_learner_remembers() -> None:
    learner = Learner(2, 2, Rates(warm_up=9, decay=1, remembered=1), seed=1)
    learner.learn([(1, 2), (3, 4)], [0.5, 0.25], 1.0)
    learner.learn([(5, 6), (7, 8)], [0.75, 1.0], 3.0)
    # The reward of an episode is that of both steps; after the last nothing follows.
    assert torch.cat(learner._memory).tolist() == [
        [5, 6, 0.75, 7, 8, 0, 3], [7, 8, 1, 7, 8, 1, 3]]
    assert learner._baseline == 2.0  # half of 1, and half of 3


@pytest.mark.parametrize("make", [
    lambda of: RandomSearch(of, 20, 1), lambda of: Optuna(of, 20, 1),
    lambda of: Optuna(of, 20, 1, adapts=True), lambda of: Amc(of, 20, 1)])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_an_interrupted_search_goes_on(make: Any) -> None:
    of = space(HALF)
    whole = trials(make(of), of)
    assert len(whole) == 20
    known = {trial.choice: trial.accuracy for trial in whole[:10]}
    judged: list[Choice] = []

    def judge(choices: Sequence[Choice]) -> list[float]:
        judged.extend(choices)
        return [of.environment.accuracy(one) for one in choices]

    assert run(make(of), of, judge, known) == whole
    assert set(judged).isdisjoint(known)


def test_what_no_board_holds_is_not_judged() -> None:
    def none(network: Any) -> Cost:
        raise TooSmall("network: it needs 9 LUTs")

    of = Space(cast(Any, Made()), none, HALF)
    assert [trial.cost for trial in run(RandomSearch(of, 4, 1), of, lambda choices: [
        1 / 0 for _ in choices])] == [None] * 4
    with pytest.raises(TooSmall, match="it needs 9 LUTs"):
        of.require()


def test_limits_that_nothing_meets() -> None:
    # The least is 90 cycles, 1e8 / 90 frames a second.
    with pytest.raises(PenjingError, match="it has cycles 90 of 10 at most, frames "
                       "1,111,111 of 2,000,000 at least; ease"):
        space(Aim({"cycles": 10, "luts": 1}, 2e6)).require()
    space(HALF).require()
