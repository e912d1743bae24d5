"""When a series is complete: instances and ends of associations in, on a clock that the tests turn."""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_nodes.types import AssociationEnded, Ending, Instance
from service.assemble import Abandoned, Assembler, AssemblyPolicy, Completed, SeriesRef
from tests.clock import Clock


class Scene:
    """An assembler, its clock and a sender."""

    def __init__(self, **policy: object) -> None:
        self.clock = Clock()
        self.assembler = Assembler(AssemblyPolicy(**policy), self.clock)  # type: ignore[arg-type]

    def send(
        self, numbers: Iterable[int], association: str = "A", *, declared: int | None = None, aet: str = "MR"
    ) -> None:
        for number in numbers:
            self.assembler.heard(instance(number, association, declared, aet))

    def end(self, ending: Ending, association: str = "A") -> None:
        self.assembler.association_ended(AssociationEnded(association, "MR", ending, frozenset({"1.2"})))

    def after(self, seconds: float) -> tuple[Completed | Abandoned, ...]:
        self.clock.time += seconds
        return self.assembler.due()


def instance(number: int, association: str = "A", declared: int | None = None, aet: str = "MR") -> Instance:
    uid = f"1.2.{number}"
    return Instance(uid, "1.2.840", "1.2", "1.1", "1.2.840.1", Path(uid), 1, aet, association, declared)


def completed(instances: int, evidence: str) -> tuple[Completed]:
    return (Completed("1.2", "1.1", instances, evidence),)


def abandoned(instances: int, reason: str) -> tuple[Abandoned]:
    return (Abandoned("1.2", "1.1", instances, reason),)


# ── by counts ────────────────────────────────────────────────────────────────────────────────────────────────


def test_released_and_as_many_as_the_objects_declare_is_complete_at_once() -> None:
    # Given a sender whose objects say that there are 36
    scene = Scene()
    scene.send(range(36), declared=36)
    assert scene.after(0) == ()
    # When it releases the association
    scene.end(Ending.RELEASED)
    # Then nobody waits
    assert scene.after(0) == completed(36, "association released and 36 of 36 instances by the objects' own count")


def test_released_and_as_many_as_the_pacs_lists_is_complete_at_once() -> None:
    scene = Scene(query_node=True)
    scene.send(range(36))
    scene.end(Ending.RELEASED)
    assert scene.after(0.6) == ()
    assert scene.assembler.queries() == (SeriesRef("1.2", "1.1"),)
    scene.assembler.expected("1.2", 36)
    assert scene.after(0) == completed(36, "association released and 36 of 36 instances by the PACS")


def test_objects_that_declare_different_counts_are_no_evidence() -> None:
    scene = Scene()
    scene.send([1], declared=2)
    scene.send([2], declared=1)
    scene.end(Ending.RELEASED)
    assert scene.after(4.9) == ()
    assert scene.after(0.1) == completed(2, "quiet for 5 s")


def test_a_duplicate_of_an_instance_does_not_count_twice() -> None:
    scene = Scene()
    scene.send([1, 1, 1], declared=3)
    scene.end(Ending.RELEASED)
    assert scene.after(0) == ()
    assert scene.after(5) == completed(1, "quiet for 5 s")


def test_a_declared_count_does_not_outweigh_a_pacs_that_lists_more() -> None:
    scene = Scene(query_node=True)
    scene.send([1, 2], declared=2)
    scene.assembler.expected("1.2", 4)
    scene.end(Ending.RELEASED)
    assert scene.after(10) == ()
    scene.send([3, 4], "B", declared=2)
    scene.end(Ending.RELEASED, "B")
    assert scene.after(0) == completed(4, "association released and 4 of 4 instances by the PACS")


def test_instances_that_the_pacs_lists_and_that_never_come_end_the_series_with_that_reason() -> None:
    scene = Scene(query_node=True)
    scene.send(range(30))
    scene.end(Ending.RELEASED)
    scene.assembler.expected("1.2", 60)
    assert scene.after(599) == ()
    assert scene.after(1) == abandoned(30, "the PACS lists 60 instances, 30 arrived")


@pytest.mark.parametrize("answer", [None, 0, 3])
def test_a_pacs_that_knows_less_than_arrived_leaves_it_to_the_quiet_time(answer: int | None) -> None:
    scene = Scene(query_node=True)
    scene.send(range(10))
    scene.end(Ending.RELEASED)
    scene.assembler.expected("1.2", answer)
    assert scene.after(5) == completed(10, "quiet for 5 s")


# ── whom to ask ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_pacs_is_asked_once_after_each_change_and_only_when_the_sender_rests() -> None:
    scene = Scene(query_node=True)
    scene.send([1])
    scene.clock.time += 1
    assert scene.assembler.queries() == ()  # the association is open
    scene.end(Ending.RELEASED)
    assert scene.assembler.queries() == ()  # the next association may follow at once
    scene.clock.time += 0.5
    assert scene.assembler.queries() == (SeriesRef("1.2", "1.1"),)
    assert scene.assembler.queries() == ()
    scene.send([2], "B")
    scene.end(Ending.RELEASED, "B")
    scene.clock.time += 0.5
    assert scene.assembler.queries() == (SeriesRef("1.2", "1.1"),)


def test_nobody_is_asked_where_no_query_node_is_configured() -> None:
    scene = Scene()
    scene.send([1])
    scene.end(Ending.RELEASED)
    scene.clock.time += 1
    assert scene.assembler.queries() == ()


# ── by quiet time ────────────────────────────────────────────────────────────────────────────────────────────


def test_with_no_other_evidence_the_quiet_time_after_the_release_completes() -> None:
    scene = Scene()
    scene.send(range(5))
    scene.clock.time += 3
    scene.end(Ending.RELEASED)
    assert scene.after(4.9) == ()
    assert scene.after(0.1) == completed(5, "quiet for 5 s")


def test_while_the_association_is_open_the_quiet_time_is_doubled() -> None:
    scene = Scene()
    scene.send(range(5))
    assert scene.after(9.9) == ()
    assert scene.after(0.1) == completed(5, "quiet for 10 s, the association still open")


def test_nothing_is_complete_while_instances_flow() -> None:
    scene = Scene()
    for number in range(20):
        scene.send([number])
        assert scene.after(9) == ()


def test_a_slow_sender_has_its_own_quiet_time() -> None:
    scene = Scene(quiet_seconds_by_aet={"SLOWMR": 30.0})
    scene.send([1], aet="SLOWMR")
    scene.end(Ending.RELEASED)
    assert scene.after(29) == ()
    assert scene.after(1) == completed(1, "quiet for 30 s")


def test_one_association_per_instance_is_one_series() -> None:
    scene = Scene()
    for number in range(10):
        scene.send([number], f"A{number}", declared=10)
        scene.end(Ending.RELEASED, f"A{number}")
        assert bool(scene.after(0.2)) is (number == 9)


# ── broken associations ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ending", [Ending.ABORTED, Ending.LOST])
def test_a_broken_association_is_no_evidence_and_ends_in_a_visible_reason(ending: Ending) -> None:
    scene = Scene()
    scene.send(range(30), declared=60)
    scene.end(ending)
    assert scene.after(299) == ()
    said = "association aborted" if ending is Ending.ABORTED else "connection lost"
    assert scene.after(1) == abandoned(30, f"{said} after 30 instances; the sender did not return")


def test_a_sender_that_returns_and_releases_makes_the_series_whole() -> None:
    scene = Scene()
    scene.send(range(30))
    scene.end(Ending.ABORTED)
    scene.clock.time += 100
    scene.send(range(60), "B")
    assert scene.after(200) == ()  # still open: not yet healed
    scene.end(Ending.RELEASED, "B")
    assert scene.after(5) == completed(60, "quiet for 5 s")


def test_a_sender_that_is_broken_off_twice_is_waited_for_from_the_second_time() -> None:
    scene = Scene()
    scene.send([1])
    scene.end(Ending.ABORTED)
    scene.clock.time += 250
    scene.send([2], "B")
    scene.end(Ending.LOST, "B")
    assert scene.after(299) == ()
    assert isinstance(scene.after(1)[0], Abandoned)


def test_the_release_of_a_parallel_association_does_not_heal_a_broken_one() -> None:
    scene = Scene()
    scene.send([1], "A")
    scene.send([2], "B")
    scene.send([3], "A")
    scene.end(Ending.ABORTED, "A")
    scene.end(Ending.RELEASED, "B")
    assert scene.after(10) == ()
    assert isinstance(scene.after(290)[0], Abandoned)


def test_a_loss_that_is_noticed_after_the_sender_returned_and_released_breaks_nothing() -> None:
    scene = Scene()
    scene.send(range(30), "A")
    scene.send(range(60), "B")
    scene.end(Ending.RELEASED, "B")
    scene.end(Ending.LOST, "A")
    assert scene.after(5) == completed(60, "quiet for 5 s")


def test_a_sender_that_aborts_after_the_last_instance_is_believed_by_the_count_and_the_quiet_time() -> None:
    scene = Scene()
    scene.send(range(36), declared=36)
    scene.end(Ending.ABORTED)
    assert scene.after(4.9) == ()
    evidence = "36 of 36 instances by the objects' own count, although: association aborted"
    assert scene.after(0.1) == completed(36, evidence)


def test_the_pacs_is_asked_about_a_series_that_was_broken_off() -> None:
    scene = Scene(query_node=True)
    scene.send(range(30))
    scene.end(Ending.ABORTED)
    scene.clock.time += 1
    assert scene.assembler.queries() == (SeriesRef("1.2", "1.1"),)
    scene.assembler.expected("1.2", 60)
    reason = "association aborted after 30 instances of 60 that the PACS lists; the sender did not return"
    assert scene.after(300) == abandoned(30, reason)


def test_an_end_that_is_told_before_its_last_instance_still_counts() -> None:
    scene = Scene()
    scene.end(Ending.RELEASED)
    scene.send([1, 2], declared=2)
    assert scene.after(0) == completed(2, "association released and 2 of 2 instances by the objects' own count")


def test_an_association_that_brought_nothing_of_a_series_changes_nothing_there() -> None:
    scene = Scene()
    scene.send([1])
    scene.end(Ending.ABORTED, "OTHER")
    scene.end(Ending.RELEASED)
    assert scene.after(5) == completed(1, "quiet for 5 s")


# ── late instances, restarts, display ────────────────────────────────────────────────────────────────────────


def test_a_series_is_told_once_and_a_late_instance_begins_it_anew() -> None:
    scene = Scene()
    scene.send([1])
    scene.end(Ending.RELEASED)
    assert len(scene.after(5)) == 1
    assert scene.after(100) == ()
    scene.send([2], "B")
    scene.end(Ending.RELEASED, "B")
    assert scene.after(5) == completed(1, "quiet for 5 s")


def test_a_late_instance_counts_with_those_of_the_revision_before_once_they_are_recalled() -> None:
    scene = Scene(query_node=True)
    scene.send([3], "B")
    scene.assembler.recall([instance(1), instance(2)])
    scene.end(Ending.RELEASED, "B")
    scene.assembler.expected("1.2", 3)
    assert scene.after(0) == completed(3, "association released and 3 of 3 instances by the PACS")


def test_after_a_restart_a_series_without_a_release_on_record_waits_for_its_sender() -> None:
    scene = Scene()
    scene.assembler.recall([instance(1), instance(2)], interrupted=True)
    assert scene.after(100) == ()
    scene.send([2, 3], "B")
    scene.end(Ending.RELEASED, "B")
    assert scene.after(5) == completed(3, "quiet for 5 s")


def test_after_a_restart_a_series_that_was_released_needs_the_quiet_time_alone() -> None:
    scene = Scene()
    scene.assembler.recall([instance(1), instance(2)])
    assert scene.after(5) == completed(2, "quiet for 5 s")


def test_a_forgotten_series_is_never_told() -> None:
    scene = Scene()
    scene.send([1])
    scene.assembler.forget("1.2")
    assert scene.after(1000) == ()


def test_the_display_says_how_much_has_come_and_what_is_waited_for() -> None:
    scene = Scene()
    scene.send(range(3), declared=36)
    scene.clock.time += 2
    (shown,) = scene.assembler.waiting()
    assert (shown.instances, shown.expected, shown.still_seconds) == (3, 36, 2.0)
    assert shown.waits_for == "the end of the association"
    scene.end(Ending.ABORTED)
    (shown,) = scene.assembler.waiting()
    assert shown.waits_for == "the sender to return: association aborted"


# ── whatever the order ───────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=100, deadline=None)
@given(st.permutations(range(12)), st.lists(st.integers(1, 11), max_size=4), st.booleans())
def test_order_of_arrival_and_splitting_across_associations_never_change_the_outcome(
    order: list[int], cuts: list[int], counted: bool
) -> None:
    scene = Scene()
    edges = sorted({0, *cuts, 12})
    for number, (start, end) in enumerate(pairwise(edges)):
        scene.send(order[start:end], f"A{number}", declared=12 if counted else None)
        assert scene.after(0.1) == ()
        scene.end(Ending.RELEASED, f"A{number}")
        assert end == 12 or scene.after(0.1) == ()
    if counted:
        evidence = "association released and 12 of 12 instances by the objects' own count"
        assert scene.after(0) == completed(12, evidence)
    else:
        assert scene.after(4.9) == ()
        assert scene.after(0.1) == completed(12, "quiet for 5 s")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_parallel_associations_interleaved_in_any_way_come_to_the_same(numbers: list[int], random: object) -> None:
    numbers = [*numbers, *range(10)]
    random.shuffle(numbers)  # type: ignore[attr-defined]  # a random.Random
    scene = Scene()
    for place, number in enumerate(numbers):
        scene.send([number], "AB"[place % 2], declared=10)
    for association in "AB":
        assert scene.after(0) == ()
        scene.end(Ending.RELEASED, association)
    assert scene.after(0) == completed(10, "association released and 10 of 10 instances by the objects' own count")
