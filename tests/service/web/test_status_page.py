"""The status page and its JSON: what the ledger knows is shown, as text, and nothing comes from elsewhere."""

import re
from html import escape
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from dicom_nodes.types import Node
from service.config import Site, read_site
from service.jobs import DeliveryState, Job, JobState, SeriesState
from service.ledger import Ledger
from service.site_template import site_toml
from service.web.server import make_app
from tests.clock import Clock
from tests.ledgers import destroy
from tests.service.web.pages import EVIL, SERIES, STUDY, encoded, routed, rows


def settle(ledger: Ledger, job: Job, destination: str, to: DeliveryState, cause: str, status: int | None) -> None:
    delivery = next(each for each in ledger.deliveries(job.id) if each.destination == destination)
    claimed = ledger.claim_delivery(delivery.id, 60)
    assert claimed is not None
    ledger.settle_delivery(claimed, to, cause, status)


def test_an_empty_ledger_gives_a_page_that_says_where_to_send(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "Nothing has been received yet" in answer.text
    assert "<b>SAGITTAL</b>" in answer.text and "<b>11112</b>" in answer.text


def test_a_running_job_shows_its_stage_and_a_progress_bar(client: TestClient, ledger: Ledger) -> None:
    job = routed(ledger)
    ledger.claim_job(job.id, JobState.QUEUED, JobState.INFERRING, "inference-1", 30)
    ledger.renew(job.id, "inference-1", "network", 63, 30)
    page = client.get("/").text
    assert "MR1" in rows(page)[0] and "knee right" in rows(page)[0] and "network 63 %" in rows(page)[0]
    assert '<progress max="100" value="63"' in page
    answer = client.get(f"/api/jobs/{job.id}").json()
    assert (answer["state"], answer["stage"], answer["percent"]) == ("inferring", "network", 63)


def test_left_and_right_are_written_out(client: TestClient, ledger: Ledger) -> None:
    routed(ledger, "1.2.1", laterality="L")
    routed(ledger, "1.2.2", laterality="R")
    sides = {uid: re.search(rf'title="{uid}".*?class="side">(\w+)<', client.get("/").text, re.S) for uid in
             ("1.2.1", "1.2.2")}  # fmt: skip
    assert {uid: found and found[1] for uid, found in sides.items()} == {"1.2.1": "left", "1.2.2": "right"}


def test_a_refusing_destination_is_shown_with_its_status_and_comment(client: TestClient, ledger: Ledger) -> None:
    job = encoded(ledger, "pacs", "research")
    settle(ledger, job, "pacs", DeliveryState.DELIVERED, "Success", 0x0000)
    settle(ledger, job, "research", DeliveryState.FAILED, "Out of resources", 0xA700)
    assert "failed pacs research 0xA700 Out of resources" in rows(client.get("/").text)[0]
    page = client.get(f"/series/{SERIES}").text
    assert "0xA700" in page and "0x0000" in page
    deliveries = client.get(f"/api/jobs/{job.id}").json()["deliveries"]
    assert [(d["destination"], d["state"], d["status"], d["comment"]) for d in deliveries] == [
        ("pacs", "delivered", 0, "Success"),
        ("research", "failed", 0xA700, "Out of resources"),
    ]


def test_an_unreachable_destination_shows_when_it_is_tried_again(
    client: TestClient, ledger: Ledger, clock: Clock
) -> None:
    job = encoded(ledger, "pacs")
    claimed = ledger.claim_delivery(ledger.deliveries(job.id)[0].id, 60)
    assert claimed is not None
    ledger.settle_delivery(claimed, DeliveryState.WAITING, "connection refused", None, clock.time + 150)
    assert "pacs attempt 1, next in 2 min: connection refused" in rows(client.get("/").text)[0]


def test_the_tiles_count_by_group_and_filter_the_table(client: TestClient, ledger: Ledger) -> None:
    ledger.heard("1.2.1", STUDY, "MR1", 3)
    routed(ledger, "1.2.2")
    for uid, state in (("1.2.3", SeriesState.FAILED), ("1.2.4", SeriesState.UNROUTED)):
        ledger.heard(uid, STUDY, "MR1", 3)
        ledger.move_series(uid, SeriesState.COMPLETE, "quiet")
        ledger.move_series(uid, state, f"because of {uid}")
    failed = routed(ledger, "1.2.5")
    ledger.move_job(failed.id, JobState.FAILED, "broken", reason="broken")
    tiles = re.findall(r'class="number">(\d+)</span>\s*<span class="name">([\w ]+)<', client.get("/").text)
    assert tiles == [
        ("1", "arriving"), ("1", "in work"), ("0", "delivered"), ("0", "held"), ("1", "unrouted"), ("2", "failed"),
    ]  # fmt: skip
    shown = {group: rows(client.get("/", params={"show": group}).text) for _, group in tiles}
    assert [len(shown[group]) for _, group in tiles] == [1, 1, 0, 0, 1, 2]
    assert any("because of 1.2.3" in row for row in shown["failed"])
    assert any("broken" in row for row in shown["failed"])
    assert "No series delivered." in client.get("/", params={"show": "delivered"}).text


def test_a_superseded_job_is_on_the_page_of_its_series_but_not_in_the_table(
    client: TestClient, ledger: Ledger
) -> None:
    old = routed(ledger)
    ledger.heard(SERIES, STUDY, "MR1", 81)
    ledger.supersede_jobs(SERIES, 2)
    new = routed(ledger, revision=2)
    assert "superseded" not in rows(client.get("/").text)[0]
    page = client.get(f"/series/{SERIES}").text
    assert page.index(new.id) < page.index(old.id)
    assert "revision 2 of the series replaces revision 1" in page


def test_the_page_of_a_series_tells_its_whole_way(client: TestClient, ledger: Ledger) -> None:
    job = encoded(ledger, "pacs")
    settle(ledger, job, "pacs", DeliveryState.DELIVERED, "Success", 0)
    page = client.get(f"/series/{SERIES}").text
    for text in (SERIES, STUDY, "first instance from MR1", "volume 1: 320 x 320 x 80", "claimed by inference-1",
                 "19 structures", "stored by pacs", "2.25.1"):  # fmt: skip
        assert text in page
    record = client.get(f"/api/series/{SERIES}").json()
    assert [step["to_state"] for step in record["transitions"]] == ["receiving", "complete", "routed"]
    assert [step["to_state"] for step in record["jobs"][0]["transitions"]][-1] == "delivered"
    assert record["jobs"][0]["objects"][0]["sop_instance_uid"] == "2.25.1"


def test_refusals_are_shown_below_with_their_status(client: TestClient, ledger: Ledger) -> None:
    ledger.refused("CT1", "1.2.840.1", 0x0122, "CT Image Storage is not accepted here")
    page = client.get("/").text
    assert "Latest refusals" in page and "0x0122" in page and "CT Image Storage is not accepted here" in page
    assert client.get("/api/refusals").json()[0]["calling_aet"] == "CT1"


def test_text_from_the_network_is_never_markup(client: TestClient, ledger: Ledger) -> None:
    job = routed(ledger)
    ledger.heard("1.2.9", STUDY, "<script>a</script>"[:16], 1)
    ledger.move_series("1.2.9", SeriesState.COMPLETE, "quiet")
    ledger.move_series("1.2.9", SeriesState.FAILED, EVIL, explanation=EVIL)
    ledger.move_job(job.id, JobState.FAILED, EVIL, reason=EVIL, model_version=EVIL)
    ledger.refused("<b>AE</b>", EVIL, 0xC000, EVIL)
    for path in ("/", "/fragments/overview", "/series/1.2.9", f"/series/{SERIES}", "/series/<script>x"):
        page = client.get(path).text
        assert re.findall(r"<script[^>]*>", page) == ['<script src="/static/refresh.js" defer>'] * (
            "/frag" not in path
        )
        assert "<b>AE</b>" not in page
        assert "&lt;script" in page
    assert escape(EVIL).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in client.get("/").text


def test_every_answer_forbids_what_does_not_come_from_here(client: TestClient, ledger: Ledger) -> None:
    routed(ledger)
    for path in ("/", f"/series/{SERIES}", "/series/1", "/api/jobs", "/health", "/static/style.css"):
        assert client.get(path).headers["content-security-policy"].startswith("default-src 'self'; ")
    pages = client.get("/").text + client.get(f"/series/{SERIES}").text
    assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", pages)
    assert not re.search(r"""\s(?:style|on\w+)=["']""", pages)
    for asset in set(re.findall(r'(?:src|href)="(/static/[^"]+)"', pages)):
        assert client.get(asset).status_code == 200
    assert "http" not in client.get("/static/style.css").text + client.get("/static/refresh.js").text
    assert client.get("/docs").status_code == 404


def test_the_refreshed_part_is_what_the_page_held(client: TestClient, ledger: Ledger) -> None:
    routed(ledger)
    for path in ("/", "/?show=in%20work", f"/series/{SERIES}"):
        page = client.get(path).text
        fragment = re.search(r'data-refresh="([^"]+)"', page)
        assert fragment is not None
        assert client.get(fragment[1]).text.strip() in page


def test_what_is_not_there_is_said_to_programs_as_json_and_to_people_as_a_page(client: TestClient) -> None:
    answer = client.get("/api/jobs/nosuchjob")
    assert (answer.status_code, answer.json()) == (404, {"detail": "no job nosuchjob; /api/jobs lists the newest"})
    answer = client.get("/api/series/1.2.3")
    assert answer.status_code == 404 and "no series 1.2.3" in answer.json()["detail"]
    answer = client.get("/series/1.2.3")
    assert answer.status_code == 404 and "<h1>No series 1.2.3" in answer.text
    assert client.get("/?show=nonsense").status_code == 422
    assert client.get("/api/series?limit=0").status_code == 422


def test_nothing_can_be_changed_through_the_web(client: TestClient, ledger: Ledger) -> None:
    job = routed(ledger)
    for path in ("/", "/api/series", f"/api/series/{SERIES}", f"/api/jobs/{job.id}", "/health"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert client.request(method, path).status_code == 405
    schema: dict[str, Any] = client.get("/api/openapi.json").json()
    assert {method for path in schema["paths"].values() for method in path} == {"get"}


def test_lists_can_be_narrowed_by_state(client: TestClient, ledger: Ledger) -> None:
    routed(ledger, "1.2.1")
    ledger.heard("1.2.2", STUDY, "MR1", 3)
    found = client.get("/api/series", params={"state": "receiving"}).json()
    assert [series["series_uid"] for series in found] == ["1.2.2"]
    assert [job["series_uid"] for job in client.get("/api/jobs", params={"state": "queued"}).json()] == ["1.2.1"]
    assert client.get("/api/jobs", params={"state": "failed"}).json() == []


def test_paths_on_this_machine_are_not_shown(client: TestClient, ledger: Ledger) -> None:
    job = encoded(ledger, "pacs")
    for path in ("/", f"/series/{SERIES}", f"/api/series/{SERIES}", f"/api/jobs/{job.id}"):
        assert "/secret" not in client.get(path).text


def test_health_counts_while_the_ledger_answers_and_is_503_when_it_does_not(
    client: TestClient, ledger: Ledger
) -> None:
    routed(ledger)
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json()["jobs"] == {"queued": 1} and answer.json()["series"]["routed"] == 1
    ledger.close()
    destroy(ledger.url)
    assert client.get("/health").status_code == 503
    assert client.get("/health").json()["detail"] == "the ledger does not answer"
    page = client.get("/")
    assert page.status_code == 503 and "The ledger does not answer." in page.text


def test_phantom_models_are_announced_on_every_page_and_real_ones_are_not(ledger: Ledger, site: Site) -> None:
    routed(ledger)
    with TestClient(make_app(ledger, site)) as client:
        assert "not for clinical use" in client.get("/").text
        assert "not for clinical use" in client.get(f"/series/{SERIES}").text
    real = site.model_copy(update={"models": site.models.model_copy(update={"weights": "weights"})})
    with TestClient(make_app(ledger, real)) as client:
        assert "not for clinical use" not in client.get("/").text


def test_a_series_that_waits_for_its_study_is_still_arriving(client: TestClient, ledger: Ledger) -> None:
    ledger.heard("1.2.2", STUDY, "MR1", 3)
    ledger.move_series("1.2.2", SeriesState.COMPLETE, "quiet")
    ledger.move_series("1.2.2", SeriesState.WAITING, "for the other series of its study")
    assert len(rows(client.get("/", params={"show": "arriving"}).text)) == 1


def test_an_urgent_job_is_marked(client: TestClient, ledger: Ledger) -> None:
    routed(ledger, "1.2.1")
    assert "urgent" not in client.get("/").text
    routed(ledger, "1.2.2", urgency=2)
    found = rows(client.get("/").text)
    assert sum("STAT" in row for row in found) == 1


def test_wrong_rules_are_told_on_the_page_and_to_programs_without_a_path(ledger: Ledger, tmp_path: Path) -> None:
    text = site_toml("SAGITTAL", "127.0.0.1", 11112, 8042, (Node("PACS", "192.0.2.10", 104),))
    (tmp_path / "site.toml").write_text(text.replace("# [routing]", "[routing]").replace("# rules = ", "rules = "))
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nname = "x"\nskip = "y"\n')
    with TestClient(make_app(ledger, read_site(tmp_path / "site.toml"))) as client:
        assert "those of before stay in force" not in client.get("/").text
        assert client.get("/health").json()["rules_fault"] == ""
        rules.write_text('[[rule]]\nname = "x"\nskipp = "y"\n')
        page = client.get("/fragments/overview").text
        assert "those of before stay in force. rules.toml, line 3: rule.1.skipp: is not a known key" in page
        assert client.get("/health").json()["rules_fault"].startswith("rules.toml, line 3")
        assert str(tmp_path) not in page
