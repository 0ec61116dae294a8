"""Images that are blended: the mixture by hand, and what stays as it is."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")

from penjing.compiler.compress.blending import blended  # noqa: E402
from torch import Tensor  # noqa: E402

IMAGES = torch.tensor([[0.0, 8.0], [16.0, 32.0], [64.0, 128.0], [256.0, 512.0]])


def prepare(images: Tensor, _: torch.Generator | None) -> Tensor:
    """One more than what is stored."""
    return images + 1


def test_each_is_mixed_with_the_one_as_far_from_the_end() -> None:
    draws = torch.rand(4, 1, generator=torch.Generator().manual_seed(3)) / 2
    x = prepare(IMAGES, None)
    wanted = torch.stack([(1 - part) * own + part * other
                          for part, own, other in zip(draws, x, reversed(x), strict=True)])
    torch.testing.assert_close(
        blended(prepare)(IMAGES, torch.Generator().manual_seed(3)), wanted)


def test_its_own_image_is_at_least_half_of_a_mixture() -> None:
    images = torch.eye(200)
    parts = blended(prepare)(images, torch.Generator().manual_seed(1)).sub(1).diagonal()
    assert 0.5 <= parts.min() < 0.51 and 0.99 < parts.max() <= 1


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.2, 0), (0.25, 1), (0.75, 3), (1.0, 4)])
def test_a_share_of_a_batch_is_mixed(share: float, count: int) -> None:
    x = blended(prepare, share)(IMAGES, torch.Generator().manual_seed(1))
    assert (x != IMAGES + 1).any(1).tolist() == [True] * count + [False] * (4 - count)


def test_what_is_judged_is_not_mixed() -> None:
    assert torch.equal(blended(prepare)(IMAGES, None), IMAGES + 1)
