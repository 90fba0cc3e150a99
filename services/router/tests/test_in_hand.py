from __future__ import annotations

import pytest

from clarion.router.in_hand import InHand
from clarion.runtime.errors import OverloadedError


def test_what_is_beyond_is_refused_with_a_wait_and_fits_later() -> None:
    in_hand = InHand(10)
    with in_hand.holding(6):
        with in_hand.holding(4):
            with pytest.raises(OverloadedError) as refused, in_hand.holding(1):
                pass
            assert refused.value.retry_after is not None
        with in_hand.holding(4):
            pass


def test_a_call_larger_than_all_room_runs_alone() -> None:
    in_hand = InHand(10)
    with in_hand.holding(1000), pytest.raises(OverloadedError), in_hand.holding(1):
        pass
    with in_hand.holding(1000):
        pass


def test_a_call_that_fails_gives_its_room_back() -> None:
    in_hand = InHand(1)
    with pytest.raises(RuntimeError), in_hand.holding(1):
        raise RuntimeError
    with in_hand.holding(1):
        pass
