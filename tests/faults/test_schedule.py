"""A schedule is drawn by its seed, and leaves no kind of fault out."""

from tests.faults.schedule import KINDS, schedule


def test_the_same_seed_gives_the_same_faults_and_another_seed_others() -> None:
    kinds = list(KINDS)
    assert schedule(1, 60, kinds) == schedule(1, 60, kinds)
    assert schedule(1, 60, kinds) != schedule(2, 60, kinds)


def test_every_kind_strikes_in_every_run_and_within_its_time() -> None:
    for seed in range(50):
        faults = schedule(seed, 60, list(KINDS))
        assert {fault.kind for fault in faults} == set(KINDS)
        assert all(0 < fault.at_seconds < 60 and fault.target in KINDS[fault.kind].targets for fault in faults)
        assert list(faults) == sorted(faults, key=lambda fault: fault.at_seconds)


def test_a_kind_that_a_machine_cannot_inflict_is_left_out() -> None:
    assert {fault.kind for fault in schedule(3, 60, ["kill web", "flush redis"])} == {"kill web", "flush redis"}
