"""What the status page shows of a result: findings, what is held and why, measurements, sheets."""

import re

import pytest
from fastapi.testclient import TestClient

from service.config import Site
from service.findings import MEANINGS, Finding, FindingName, reason_to_hold
from service.jobs import DeliveryState, Job, JobState, ResultObject, SeriesState
from service.ledger import Ledger
from tests.service.web.pages import EVIL, SERIES, STUDY, encoded, found, routed, rows

FINDINGS = (
    Finding(FindingName.ORDER, "Vertebrae L3 lies 34 mm nearer to the head than Vertebrae L2"),
    Finding(FindingName.LITTLE, f"expected {EVIL}, found none"),
)


def checked(ledger: Ledger, job: Job, *, held: bool) -> None:
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "inference-1", 30)
    hold = reason_to_hold(job.id, FINDINGS) if held else ""
    ledger.inferred(job.id, "inference took 3 s", FINDINGS, hold, owner="inference-1")


def test_what_is_held_has_a_tile_of_its_own_and_says_why_and_what_to_do(client: TestClient, ledger: Ledger) -> None:
    job = routed(ledger, "1.2.1")
    checked(ledger, job, held=True)
    ledger.heard("1.2.2", STUDY, "MR1", 3)
    ledger.move_series("1.2.2", SeriesState.COMPLETE, "quiet")
    ledger.move_series("1.2.2", SeriesState.HELD, "the header contradicts itself")
    page = client.get("/", params={"show": "held"}).text
    tile = re.search(r'class="tile aside" href="/" aria-current="true">\s*<span class="number">(\d)</span>', page)
    assert tile is not None and tile[1] == "2"
    assert "1 series · 1 job<" in page
    found = rows(page)
    assert len(found) == 2
    assert any("out of order" in row and f"sagittal jobs release {job.id}" in row for row in found)
    assert any("the header contradicts itself" in row for row in found)


@pytest.mark.parametrize("held", [True, False])
def test_findings_are_shown_with_their_evidence_and_what_they_mean_whether_held_or_not(
    client: TestClient, ledger: Ledger, held: bool
) -> None:
    job = routed(ledger)
    checked(ledger, job, held=held)
    page = client.get(f"/series/{SERIES}").text
    assert "Findings" in page and FINDINGS[0].evidence in page and MEANINGS[FindingName.ORDER] in page
    assert '<script src="//x">' not in page
    assert FINDINGS[0].evidence in rows(client.get("/").text)[0]
    record = client.get(f"/api/jobs/{job.id}").json()
    assert record["state"] == ("held" if held else "inferred")
    assert [(each["name"], each["evidence"], each["holds"]) for each in record["findings"]] == [
        (each.name.value, each.evidence, held) for each in FINDINGS
    ]
    assert client.get(f"/api/series/{SERIES}").json()["jobs"][0]["findings"] == record["findings"]


def test_a_held_series_says_how_a_person_decides(client: TestClient, ledger: Ledger) -> None:
    ledger.heard(SERIES, STUDY, "MR1", 80)
    ledger.move_series(SERIES, SeriesState.COMPLETE, "quiet for 5 s")
    ledger.move_series(SERIES, SeriesState.HELD, "the header contradicts itself")
    assert f"sagittal jobs assign {SERIES} --to" in client.get(f"/series/{SERIES}").text


def test_the_table_of_measurements_names_each_structure_in_the_order_of_the_model(
    client: TestClient, ledger: Ledger, site: Site
) -> None:
    job = encoded(ledger, "pacs")
    found(site, job)
    page = client.get(f"/series/{SERIES}").text
    table = page.partition('class="measured"')[2].partition("</table>")[0]
    cells = [[re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.S)]
             for row in table.partition("<tbody>")[2].split("</tr>")]  # fmt: skip
    assert cells[:2] == [
        ["liver", "1476.7", "431.6", "40.8", "2 to 3", "first slice, in-plane"],
        ["kidney left", "0.00123", "–", "–", "2", ""],
    ]
    assert 'fill="#3cdc5a"' in table
    assert "Looked for and not found" in page and EVIL not in page and "gall&lt;script" in page
    assert "sheet.png" not in page


def test_the_json_of_a_job_has_its_measurements_under_their_names(
    client: TestClient, ledger: Ledger, site: Site
) -> None:
    job = encoded(ledger, "pacs")
    assert client.get(f"/api/jobs/{job.id}").json()["measurements"] == []
    found(site, job)
    liver, kidney = client.get(f"/api/jobs/{job.id}").json()["measurements"]
    assert liver == {
        **{"name": "liver", "rgb": [60, 220, 90], "value": 1, "volume_ml": 1476.66, "mean": 431.612, "sd": 40.81},
        **{"slices": 2, "first_slice": 1, "last_slice": 2, "edges": ["first slice", "in-plane"]},
    }
    assert (kidney["name"], kidney["mean"]) == ("kidney_left", None)
    (of_series,) = client.get(f"/api/series/{SERIES}").json()["jobs"]
    assert of_series["measurements"] == [liver, kidney]


def test_the_sheet_of_a_job_is_shown_and_opens_large(client: TestClient, ledger: Ledger, site: Site) -> None:
    job = encoded(ledger, "pacs")
    png = b"\x89PNG\r\n\x1a\n and so on"
    found(site, job, png)
    page = client.get(f"/series/{SERIES}").text
    (link,) = re.findall(r'<a [^>]*class="sheet" href="([^"]+)"', page)
    assert f'<img src="{link}"' in page
    answer = client.get(link)
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "image/png", png)


@pytest.mark.parametrize("name", ["unknown", "..", "..%2f..", "%2e%2e%2fjobs", "." * 3])
def test_a_sheet_is_of_a_job_of_the_ledger_and_of_nothing_else(
    client: TestClient, ledger: Ledger, site: Site, name: str
) -> None:
    job = encoded(ledger, "pacs")
    assert client.get(f"/jobs/{job.id}/sheet.png").status_code == 404
    found(site, job, b"png")
    (site.jobs / "sheet.png").write_bytes(b"not a job's")
    (site.home / "sheet.png").write_bytes(b"not a job's")
    answer = client.get(f"/jobs/{name}/sheet.png")
    assert (answer.status_code, b"not a job's" in answer.content) == (404, False)


def test_deliveries_name_their_object_and_those_that_stand_alike_are_told_once(
    client: TestClient, ledger: Ledger
) -> None:
    job = routed(ledger)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "inference-1", 30)
    ledger.move_job(job.id, JobState.INFERRED, "19 structures", owner="inference-1")
    ledger.claim_job(job.id, JobState.INFERRED, JobState.INFERRED, "results", 30)
    made = [ResultObject(f"2.25.{n}", job.id, "seg", "1.2", f"2.25.9{n}", f"/x/{name}.dcm", 0.0)
            for n, name in enumerate(("seg-vertebrae", "seg-others"))]  # fmt: skip
    ledger.encoded(job.id, "results", made, {"pacs": [each.sop_instance_uid for each in made]})
    for delivery in ledger.deliveries(job.id):
        claimed = ledger.claim_delivery(delivery.id, 60)
        assert claimed is not None
        ledger.settle_delivery(claimed, DeliveryState.DELIVERED, "Success", 0)
    assert "pacs 2 objects" in rows(client.get("/").text)[0]
    page = client.get(f"/series/{SERIES}").text
    assert "seg-vertebrae</td>" in page and "seg-others</td>" in page
