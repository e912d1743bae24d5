"""So many series in; a ledger in which all of them are settled, as after years of work, and a little is open.

What is written is what the parts of a site write of one series in 432 s (200 a day): one job, one object with its
delivery and its commitment, every transition, and what is deleted after a month. UIDs and texts are as long as real
ones, and job ids lie as scattered, so that the size on disk is a site's.
"""

import base64
from itertools import count

from sqlalchemy import Connection, Engine, create_engine, text

from dicom_nodes.types import CommitmentReport
from service.jobs import DeliveryState, Job, JobState, ResultObject, SeriesState
from service.ledger import Ledger, open_ledger

OPEN = 20
"""So many series, jobs and deliveries are open in every ledger."""
SECONDS_EACH = 432.0
"""From one series to the next: 200 a day."""
KEPT = 6_000
"""The files of so many series are not deleted yet: those of a month."""
INSTANCES = 120
_AT_ONCE = 50_000
"""Series in one transaction."""

_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT CAST(:first AS INTEGER) UNION ALL SELECT i + 1 FROM n WHERE i < :last)"
_SERIES = "'1.3.12.2.1107.5.2.43.66012.' || (20200101000000 + i)"
_STUDY = "'1.3.12.2.1107.5.2.43.66011.' || (20200101000000 + i / 6)"
_MIXED = "((CAST(i AS BIGINT) * 387420489) % 1000000007)"
"""Each number once and in no order, as digests are."""
_JOB = f"'' || (100000000000 + {_MIXED})"
_OBJECT = f"'2.25.' || (1000000000 + {_MIXED}) || '23456789012345678901234567890'"
_TRANSACTION = f"'2.25.' || (2000000000 + {_MIXED}) || '23456789012345678901234567890'"
_AT = "(CAST(:at AS FLOAT) + i * CAST(:each AS FLOAT))"
_JOB_STATE = """CASE WHEN i % 100 = 55 THEN 'superseded' WHEN i % 100 = 56 THEN 'withdrawn'
    WHEN i % 10 = 0 THEN 'failed' WHEN i % 10 = 1 THEN 'held' ELSE 'committed' END"""
_SERIES_STATE = """CASE i % 10 WHEN 0 THEN 'failed' WHEN 1 THEN 'held' WHEN 2 THEN 'unrouted' ELSE 'routed' END"""
_DELIVERY_STATE = """CASE WHEN i % 200 = 55 THEN 'stored' WHEN i % 200 = 155 THEN 'waiting'
    WHEN i % 10 = 0 THEN 'failed' ELSE 'committed' END"""
"""One in a hundred was superseded while its object was on its way."""
_STEPS = (
    ("series", _SERIES, "", "receiving"), ("series", _SERIES, "receiving", "complete"),
    ("series", _SERIES, "complete", "routed"), ("job", _JOB, "", "queued"), ("job", _JOB, "queued", "inferring"),
    ("job", _JOB, "inferring", "inferred"), ("job", _JOB, "inferred", "encoded"),
    ("job", _JOB, "encoded", "delivering"), ("job", _JOB, "delivering", "delivered"),
    ("job", _JOB, "delivered", "committed"), ("delivery", "'' || i", "waiting", "stored"),
    ("delivery", "'' || i", "stored", "committed"),
)  # fmt: skip
_FILL = (
    f"""series (series_uid, study_uid, calling_aet, state, revision, instance_count, association, fingerprint,
        reason, explanation, first_heard_at, last_heard_at, updated_at)
        {_NUMBERS} SELECT {_SERIES}, {_STUDY}, 'MR' || (i % 7), {_SERIES_STATE}, 1, {INSTANCES}, 'released',
        :digest, 'lumbar (mrannotator-spine)', :explanation, {_AT}, {_AT}, {_AT} FROM n""",
    f"""volumes (series_uid, volume_index, study_uid, evidence)
        {_NUMBERS} SELECT {_SERIES}, 1, {_STUDY}, :evidence FROM n""",
    f"""jobs (id, series_uid, study_uid, revision, volume_index, volume_name, submodel, protocol, urgency,
        laterality, state, stage, percent, attempts, owner, lease_until, hinted_at, reason, model_version,
        created_at, updated_at) {_NUMBERS} SELECT {_JOB}, {_SERIES}, {_STUDY}, 1, 1, '', 'mrannotator-spine',
        'lumbar', 0, '', {_JOB_STATE}, '', 100, 1, '', 0.0, 1.0, '', :digest, {_AT}, {_AT} FROM n""",
    f"""findings (job_id, name, evidence, holds, at) {_NUMBERS}
        SELECT {_JOB}, 'out of order', 'L3 above L2', true, {_AT} FROM n WHERE i % 10 = 1""",
    f"""objects (sop_instance_uid, job_id, kind, sop_class_uid, series_uid, path, made_at) {_NUMBERS}
        SELECT {_OBJECT}, {_JOB}, 'seg', '1.2.840.10008.5.1.4.1.1.66.4', {_OBJECT} || '1',
        '/var/lib/sagittal/jobs/' || {_JOB} || '/seg.dcm', {_AT} FROM n""",
    f"""deliveries (job_id, sop_instance_uid, destination, state, attempts, next_attempt_at, first_attempt_at,
        status, comment, stored_at, updated_at) {_NUMBERS} SELECT {_JOB}, {_OBJECT}, 'pacs', {_DELIVERY_STATE}, 1,
        {_AT}, {_AT}, 0, 'PACS keeps it', {_AT}, {_AT} FROM n""",
    f"""commitments (transaction_uid, delivery_id, asked_at, answered_at, outcome) {_NUMBERS}
        SELECT {_TRANSACTION}, i, {_AT}, {_AT}, 'committed' FROM n""",
    f"""withdrawals (job_id, title, cause, because, sends, settled, at) {_NUMBERS}
        SELECT {_JOB}, '113039', 'withdrawn', 'wrong side', true, true, {_AT} FROM n WHERE i % 100 = 56""",
    f"""rejections (note_uid, sop_instance_uid, series_uid, title, at) {_NUMBERS}
        SELECT {_TRANSACTION}, {_SERIES} || '.1', {_SERIES}, '113001', {_AT} FROM n WHERE i % 100 = 57""",
    f"""backfill (series_uid, instances, was_known, at) {_NUMBERS}
        SELECT {_SERIES}, {INSTANCES}, false, {_AT} FROM n WHERE i % 10 = 5""",
    f"""refusals (at, calling_aet, sop_instance_uid, status, reason) {_NUMBERS}
        SELECT {_AT}, 'CT1', {_SERIES} || '.1', 290, 'SOP Class not supported' FROM n WHERE i % 10 = 7""",
    *(
        f"""deletions (subject, subject_id, at, cause, files, bytes, instances, finished) {_NUMBERS}
        SELECT '{subject}', {key}, {_AT}, 'committed for over 30 days', {INSTANCES}, 60000000, {instances}, true
        FROM n WHERE i <= :deleted"""
        for subject, key, instances in (("series", _SERIES, ":instances"), ("job", _JOB, "''"))
    ),
    *(
        f"""transitions (subject, subject_id, from_state, to_state, at, cause, actor) {_NUMBERS}
        SELECT '{subject}', {key}, '{old}', '{new}', {_AT}, 'routed to mrannotator-spine, protocol lumbar', 'worker'
        FROM n""" for subject, key, old, new in _STEPS
    ),
)  # fmt: skip
"""In the order that their references ask for."""
_TEXTS = {
    "digest": "0123456789abcdef" * 4,
    "explanation": "kind: magnitude, because of ImageType and SequenceName; body part: lumbar spine, 4 signs. " * 6,
    "evidence": '{"shape": [20, 320, 320], "facts": {"SeriesDescription": "t1_tse_sag"}} ' * 19,
    "instances": base64.b64encode(bytes(4 * INSTANCES)).decode(),
}


def filled(url: str, series: int) -> Ledger:
    """A ledger of so many settled series, and with a little open work; the newest of them is of now."""
    ledger = open_ledger(url, actor="benchmark")
    numbers = {"at": ledger.now() - series * SECONDS_EACH, "each": SECONDS_EACH, "deleted": series - KEPT}
    engine = create_engine(url)
    for first in range(1, series + 1, _AT_ONCE):
        with engine.connect() as connection:
            _hurry(connection)
            with connection.begin():
                for statement in _FILL:
                    span = {"first": first, "last": min(first + _AT_ONCE - 1, series)}
                    _insert(connection, statement, {**numbers, **_TEXTS, **span})
    _count(engine)
    engine.dispose()
    ledger.fold()
    while ledger.end_taken_back():
        pass
    for number in range(OPEN):
        ledger.heard(f"1.3.{number}", "1.3", "MR1", 10)
        queued(ledger, f"1.4.{number}")
        ledger.claim_job(queued(ledger, f"1.5.{number}").id, JobState.QUEUED, JobState.INFERRING, "w", 3600)
        delivering(ledger, f"1.6.{number}")
    if ledger.url.startswith("postgresql"):  # as autovacuum does sooner or later
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))
        engine.dispose()
    return ledger


def _hurry(connection: Connection) -> None:
    """Fill without waiting for the disk, and on PostgreSQL with no trigger; what is timed has all of it."""
    faster = ["PRAGMA synchronous=OFF", "PRAGMA cache_size=-500000"]
    if connection.dialect.name == "postgresql":
        faster = ["SET synchronous_commit = off", "SET session_replication_role = replica"]
    for setting in faster:
        connection.execute(text(setting))
    connection.commit()


def _count(engine: Engine) -> None:
    """Write down what the triggers would have counted where there were none, as the migration does."""
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            for table, subject in (("series", "series"), ("jobs", "job")):
                counted = f"SELECT '{subject}', state, count(*) FROM {table} GROUP BY state"
                connection.execute(text(f"INSERT INTO tallies (subject, state, number) {counted}"))


def _insert(connection: Connection, statement: str, values: dict[str, object]) -> None:
    made = text(f"INSERT INTO {statement}")
    connection.execute(made, {name: values[name] for name in made.compile().params})


def series_uid(number: int) -> str:
    """Of the settled series with this number, from 1 on."""
    return f"1.3.12.2.1107.5.2.43.66012.{20200101000000 + number}"


def study_uid(number: int) -> str:
    """Of the study that the series with this number is of."""
    return f"1.3.12.2.1107.5.2.43.66011.{20200101000000 + number // 6}"


_numbers = count()


def queued(ledger: Ledger, uid: str) -> Job:
    """A routed series with one queued job."""
    ledger.heard(uid, f"{uid}.1", "MR1", INSTANCES)
    ledger.move_series(uid, SeriesState.COMPLETE, "quiet for 5 s", revision=1)
    ledger.keep_volumes(uid, f"{uid}.1", {1: _TEXTS["evidence"]})
    at = ledger.now()
    job = Job(
        id=f"q{next(_numbers):011d}", series_uid=uid, study_uid=f"{uid}.1", revision=1, volume_index=1,
        volume_name="", submodel="mrannotator-spine", protocol="lumbar", urgency=0, laterality="",
        state=JobState.QUEUED, stage="", percent=0, attempts=0, owner="", lease_until=0.0, hinted_at=0.0, reason="",
        model_version="", created_at=at, updated_at=at,
    )  # fmt: skip
    ledger.route_series(uid, "1 job", "because", [job])
    return job


def delivering(ledger: Ledger, uid: str) -> int:
    """The id of a delivery that is due."""
    job = queued(ledger, uid)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "w", 60)
    ledger.inferred(job.id, "done", [], "", owner="w")
    ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "w", 60)
    made = ResultObject(f"2.{uid}", job.id, "seg", "1.2.840", "2.25", "/data/seg.dcm", ledger.now())
    ledger.encoded(job.id, "w", [made], {"pacs": [made.sop_instance_uid]})
    return ledger.deliveries(job.id)[0].id


def delivered(ledger: Ledger, uid: str) -> None:
    """A series from its first instance to its result, kept by its destination."""
    delivery = ledger.claim_delivery(delivering(ledger, uid), 60)
    assert delivery is not None
    ledger.settle_delivery(delivery, DeliveryState.STORED, "status 0x0000", 0)
    ledger.claim_commitment(delivery.id, f"3.{uid}", 60)
    ledger.commitment_reported(CommitmentReport("PACS", f"3.{uid}", frozenset({delivery.sop_instance_uid}), {}))
