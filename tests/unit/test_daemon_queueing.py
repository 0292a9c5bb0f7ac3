"""Whose turn it is, who asks too often, and who has a place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pam_faceid.apps.door import MOST_CONNECTIONS, MOST_OF_ONE_USER, MOST_OF_USERS, ROOT, Places
from pam_faceid.apps.queueing import MOST_REMEMBERED, FairQueue, RateLimit


def test_callers_take_turns_and_each_keeps_its_own_order() -> None:
    queue: FairQueue[str] = FairQueue(most=10, most_each=5)
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        assert queue.add(item[0], item)
    taken = [queue.take() for _ in range(7)]
    assert taken == ["a1", "b1", "c1", "a2", "b2", "a3", None]


def test_a_caller_that_comes_back_waits_behind_the_others() -> None:
    queue: FairQueue[str] = FairQueue(most=10, most_each=5)
    queue.add("a", "a1")
    queue.add("b", "b1")
    assert queue.take() == "a1"
    queue.add("a", "a2")
    assert queue.take() == "b1"


def test_neither_one_caller_nor_all_together_wait_without_end() -> None:
    queue: FairQueue[int] = FairQueue(most=3, most_each=2)
    assert [queue.add("a", 1), queue.add("a", 2), queue.add("a", 3)] == [True, True, False]
    assert [queue.add("b", 4), queue.add("c", 5)] == [True, False]


def test_a_place_that_was_given_up_is_nobodys() -> None:
    queue: FairQueue[int] = FairQueue(most=2, most_each=2)
    queue.add("a", 1)
    queue.add("a", 2)
    queue.remove("a", 1)
    assert queue.add("b", 3)
    assert [queue.take(), queue.take(), queue.take()] == [2, 3, None]


callers = st.integers(0, 3)
Step = tuple[str, int]


@given(st.lists(st.tuples(st.sampled_from(["add", "take", "remove"]), callers), max_size=60))
def test_the_queue_loses_nobody_and_serves_each_caller_in_order(steps: list[Step]) -> None:
    queue: FairQueue[int] = FairQueue(most=12, most_each=4)
    waiting: dict[int, list[int]] = {caller: [] for caller in range(4)}
    for number, (step, caller) in enumerate(steps):
        if step == "add":
            has_room = sum(map(len, waiting.values())) < 12 and len(waiting[caller]) < 4
            assert queue.add(caller, number) == has_room
            if has_room:
                waiting[caller].append(number)
        elif step == "remove" and waiting[caller]:
            queue.remove(caller, waiting[caller].pop())
        elif step == "take":
            taken = queue.take()
            heads = [items[0] for items in waiting.values() if items]
            assert (taken in heads) if heads else taken is None
            for items in waiting.values():
                if items[:1] == [taken]:
                    del items[0]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    clock = Clock()
    limit = RateLimit(burst=3, per_second=2.0, clock=clock)
    assert [limit.allows("a") for _ in range(5)] == [True, True, True, False, False]
    assert limit.allows("b")
    clock.now += 0.5
    assert [limit.allows("a"), limit.allows("a")] == [True, False]
    clock.now += 3600.0
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]


def test_who_is_refused_does_not_push_the_end_of_it_away() -> None:
    clock = Clock()
    limit = RateLimit(burst=1, per_second=1.0, clock=clock)
    assert limit.allows("a")
    for _ in range(9):
        clock.now += 0.1
        limit.allows("a")
    clock.now += 0.2
    assert limit.allows("a")


def test_names_that_a_stranger_makes_up_take_no_memory_without_end() -> None:
    clock = Clock()
    limit = RateLimit(burst=64, per_second=20.0, clock=clock)
    for number in range(3 * MOST_REMEMBERED):
        limit.allows(f"user{number}")
    assert len(limit) <= MOST_REMEMBERED + 1
    clock.now += 60.0
    limit.allows("somebody")
    assert len(limit) == 1


def test_users_cannot_take_roots_places() -> None:
    places = Places()
    for uid in range(1000, 1000 + MOST_OF_USERS // MOST_OF_ONE_USER):
        assert all(places.take(uid) for _ in range(MOST_OF_ONE_USER))
        assert not places.take(uid)
    assert not places.take(5000)
    for _ in range(MOST_CONNECTIONS - MOST_OF_USERS):
        assert places.take(ROOT)
    assert not places.take(ROOT)
    places.free(1000)
    assert places.take(5000)
