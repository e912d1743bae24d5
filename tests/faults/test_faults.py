"""A whole site under load while everything breaks: nothing acknowledged is lost, nothing doubled, nothing half."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.run import Run, install, run
from tests.faults.schedule import KINDS
from tests.ledgers import on_postgresql

pytestmark = pytest.mark.slow

SEEDS = (101, 102, 103)
SERIES, SECONDS = 48, 40.0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Run]:
    """All seeds side by side: most of a run is waiting for leases and rests to end."""
    weights = install(tmp_path_factory.mktemp("weights"))
    folders = {seed: tmp_path_factory.mktemp(f"seed-{seed}") for seed in SEEDS}
    ledger = "postgresql" if on_postgresql() else "sqlite"

    def one(seed: int) -> Run:
        return run(folders[seed], weights, seed, SERIES, SECONDS, ledger=ledger)

    with ThreadPoolExecutor(len(SEEDS)) as pool:
        pending = {seed: pool.submit(one, seed) for seed in SEEDS}
        return {seed: one.result() for seed, one in pending.items()}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_acknowledged_instance_is_accounted_for_once_whatever_breaks(
    seed: int, runs: Mapping[int, Run]
) -> None:
    one = runs[seed]
    said = "\n".join(map(str, (*one.faults, *one.unsettled)))
    assert one.unsettled == (), said
    assert (one.verdict.lost, one.verdict.doubled, one.verdict.half) == ((), (), ()), said
    # A reason in place of a result has only what a sender broke off for ever, or never said was whole.
    excused = one.told.gone | one.told.unreleased
    others = {uid: why for uid, why in one.verdict.reasons.items() if uid not in excused}
    assert others == {}, said
    assert one.told.gone <= one.verdict.reasons.keys()
    assert one.verdict.results == SERIES - len(one.verdict.reasons)
    assert one.told.gave_up == ()
    assert one.web_answers
    assert {fault.kind for fault in one.faults} == set(KINDS) - set(one.left_out)
