"""The auditor finds what is planted: a lost instance, a doubled result, a half series; else it finds nothing."""

from dataclasses import replace

import pytest

from tests.faults.auditor import Acknowledged, Evidence, JobSeen, SeriesSeen, Stored, audit

SLICES = ("1.1", "1.2", "1.3", "1.4")
SEG = Stored("2.1", "aa", "1", frozenset(SLICES), frozenset(SLICES))
JOB = JobSeen("j1", "1", 1, "committed", "", 100.0, ("2.1",))
ROUTED = SeriesSeen("1", "routed", "routed to quick")
WHOLE = Evidence([Acknowledged("1", uid, 90.0 + i) for i, uid in enumerate(SLICES)], [SEG], [ROUTED], [JOB])
LATE = Acknowledged("1", "1.5", 150.0)
"""An instance that came after the first result was begun."""
FIVE = frozenset((*SLICES, "1.5"))
NEWER = (
    replace(SEG, sop_instance_uid="2.2", digest="bb", referenced=FIVE, drawn=FIVE),
    replace(JOB, id="j2", revision=2, begun_at=160.0, made=("2.2",)),
)


def test_a_whole_series_with_one_result_is_accounted_for() -> None:
    verdict = audit(WHOLE)
    assert verdict.clean
    assert (verdict.results, verdict.reasons, verdict.resent, verdict.superseded) == (1, {}, 0, 0)


def test_a_result_that_a_newer_one_of_more_instances_supersedes_is_no_half_series() -> None:
    seg, job = NEWER
    old = replace(JOB, state="superseded")
    evidence = Evidence([*WHOLE.acknowledged, LATE], [SEG, seg], [ROUTED], [old, job])
    verdict = audit(evidence)
    assert verdict.clean
    assert (verdict.results, verdict.superseded) == (1, 1)


def test_the_same_object_with_the_same_bytes_twice_is_a_resend_and_is_counted() -> None:
    verdict = audit(replace(WHOLE, stored=[SEG, SEG]))
    assert verdict.clean
    assert verdict.resent == 1


@pytest.mark.parametrize(
    "series, jobs",
    [
        ([SeriesSeen("1", "failed", "association aborted after 4 instances; the sender did not return")], []),
        ([SeriesSeen("1", "unrouted", "a localiser")], []),
        ([ROUTED], [replace(JOB, state="failed", reason="given up after 3 attempts", made=())]),
    ],
)
def test_a_visible_reason_accounts_for_a_series(series: list[SeriesSeen], jobs: list[JobSeen]) -> None:
    verdict = audit(replace(WHOLE, stored=[], series=series, jobs=jobs))
    assert verdict.clean
    assert (verdict.results, list(verdict.reasons)) == (0, ["1"])


LOST = {
    "an instance that is in no result": replace(WHOLE, acknowledged=[*WHOLE.acknowledged, LATE]),
    "a series that the ledger never heard of": replace(WHOLE, series=[]),
    "a series without a job": replace(WHOLE, jobs=[]),
    "a series that waits for ever": replace(WHOLE, series=[SeriesSeen("1", "receiving", "")]),
    "a failure without a reason": replace(WHOLE, series=[SeriesSeen("1", "failed", "")], stored=[]),
    "a job that ended nowhere": replace(WHOLE, jobs=[replace(JOB, state="encoded")], stored=[]),
    "a result that is delivered and not at the archive": replace(WHOLE, stored=[]),
    "a slice that has no frame": replace(WHOLE, stored=[replace(SEG, drawn=frozenset(SLICES[:3]))]),
    "a result of another series": replace(WHOLE, stored=[replace(SEG, series_uid="9")]),
}


@pytest.mark.parametrize("name", LOST)
def test_a_planted_loss_is_found(name: str) -> None:
    assert len(audit(LOST[name]).lost) == 1


DOUBLED = {
    "two results of one revision": replace(
        WHOLE,
        stored=[SEG, replace(SEG, sop_instance_uid="2.9", digest="cc", referenced=frozenset("x"))],
        jobs=[replace(JOB, made=("2.1", "2.9"))],
    ),
    "other bytes under the same UID": replace(WHOLE, stored=[SEG, replace(SEG, digest="cc")]),
    "a result that no job made": replace(WHOLE, stored=[SEG, replace(SEG, sop_instance_uid="2.9", series_uid="9")]),
    "two revisions of the same instances": replace(
        WHOLE,
        stored=[SEG, replace(SEG, sop_instance_uid="2.2")],
        jobs=[replace(JOB, state="superseded"), replace(JOB, id="j2", revision=2, made=("2.2",))],
    ),
}


@pytest.mark.parametrize("name", DOUBLED)
def test_a_planted_double_is_found(name: str) -> None:
    verdict = audit(DOUBLED[name])
    assert len(verdict.doubled) == 1
    assert verdict.lost == ()


def test_a_planted_half_series_is_found_though_a_newer_result_superseded_it_later() -> None:
    seg, job = NEWER
    early = replace(LATE, at=95.0)  # acknowledged before the first result was begun, which lacks it
    old = replace(JOB, state="superseded")
    verdict = audit(Evidence([*WHOLE.acknowledged, early], [SEG, seg], [ROUTED], [old, job]))
    assert len(verdict.half) == 1
    assert "acknowledged before it was begun" in verdict.half[0]
    assert verdict.lost == ()


def test_a_planted_half_series_is_found_where_nothing_takes_its_place() -> None:
    verdict = audit(replace(WHOLE, acknowledged=[*WHOLE.acknowledged, LATE]))
    assert len(verdict.half) == 1
    assert "no newer revision" in verdict.half[0]
