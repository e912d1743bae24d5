"""The page of the models: what runs with which weights under which licence, and what cannot, and why."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dicom_nodes.types import Node
from service.config import Site, read_site
from service.jobs import Job, JobState, SeriesState, job_id
from service.ledger import Ledger, open_ledger
from service.modelstore import RECORD, Installed, ModelStore, record_text, sha256, site_store, version_of
from service.site_template import site_toml
from service.submodel import SHIPPED, SubModel, load_submodels
from service.web.server import make_app
from tests.ledgers import ledger_in
from workers.install.phantom import phantom_store

SUBMODELS = {each.name: each for each in load_submodels()}
TOTAL, LIVER, BONES = (
    SUBMODELS[f"totalsegmentator-{name}"] for name in ("total-mr", "liver-segments-mr", "appendicular-bones-mr")
)
MRSEGMENTATOR = SUBMODELS["mrsegmentator"]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = open_ledger(ledger_in(tmp_path), actor="test", now=lambda: 1_795_000_000.0)
    yield ledger
    ledger.close()


def site_with(tmp_path: Path, weights: str, *run: str) -> Site:
    path = tmp_path / "site.toml"
    written = site_toml("SAGITTAL", "127.0.0.1", 11112, 8042, (Node("PACS", "192.0.2.10", 104),))
    names = ", ".join(f'"{name}"' for name in run)
    models = f'[models]\nweights = "{weights}"\n' + (f"run = [{names}]\n" if run else "")
    path.write_text(re.sub(r"\[models\]\nweights[^\n]*\n", models, written))
    return read_site(path)


def put(store: ModelStore, submodel: SubModel, network: str, **changes: Any) -> Installed:
    """A network as an install leaves it, with files of no meaning."""
    (wanted,) = (each for each in submodel.network if each.name == network)
    path = store.path(network)
    path.mkdir(parents=True)
    folds = changes.get("folds", wanted.folds)
    for name in ("plans.json", "dataset.json", *(f"fold_{fold}.safetensors" for fold in folds)):
        (path / name).write_text(f"{network} {name}")
    originals = {"plans.json": sha256(path / "plans.json")}
    said: dict[str, Any] = {
        **{"network": network, "submodel": submodel.name, "system": submodel.system, "why": ("its labels",)},
        **{"origin": f"{network}.zip", "installed_at": datetime(2026, 11, 20, 8, 30, tzinfo=UTC)},
        **{"software": "0.1.0", "licence": submodel.licence, "licence_accepted": submodel.accept_licence},
        **{"configuration": "3d_fullres", "trainer": "nnUNetTrainer", "mirroring_axes": None, "phantom": False},
        **{"folds": folds, "originals": originals, "version": version_of(originals)},
        **{"files": {file.name: sha256(file) for file in path.iterdir()}},
        **{"parameters": 31_000_000, "bytes": 124_000_000 * len(folds)},
    }
    model = Installed(**(said | changes))
    (path / RECORD).write_text(record_text(model))
    return model


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def card(page: str, name: str) -> str:
    """The text of one sub-model's card."""
    return text_of(page.partition(f'id="model-{name}"')[2].partition("</section>")[0].partition(">")[2]).strip()


def page_and_json(ledger: Ledger, site: Site) -> tuple[str, dict[str, Any]]:
    with TestClient(make_app(ledger, site)) as client:
        page, answer = client.get("/models"), client.get("/api/models")
    assert (page.status_code, answer.status_code) == (200, 200)
    return page.text, answer.json()


def test_what_is_installed_is_shown_with_version_folds_size_licence_and_source(
    ledger: Ledger, tmp_path: Path
) -> None:
    site = site_with(tmp_path, "models", "mrsegmentator")
    model = put(site_store(site), MRSEGMENTATOR, "mrsegmentator")
    page, record = page_and_json(ledger, site)
    shown = card(page, "mrsegmentator")
    for text in ("ready", "Licence Apache-2.0", f"Source {MRSEGMENTATOR.source}", "0 to 4", " 591 ",
                 "2026-11-20 from mrsegmentator.zip", f" {model.version[:16]} "):  # fmt: skip
        assert text in shown
    assert f'title="{model.version}"' in page and "accepted" not in shown
    (found,) = record["submodels"]
    assert (found["state"], found["licences"], found["source"]) == ("ready", ["Apache-2.0"], MRSEGMENTATOR.source)
    (network,) = found["networks"]
    assert network["installed"]["version"] == model.version
    assert (network["folds"], network["mib"], network["fault"]) == ([0, 1, 2, 3, 4], 591.3, None)


def test_a_licence_that_had_to_be_accepted_says_so_and_one_that_has_yet_to_be_does_too(
    ledger: Ledger, tmp_path: Path
) -> None:
    site = site_with(tmp_path, "models", BONES.name, "totalsegmentator-face-mr")
    put(site_store(site), BONES, BONES.network[0].name)
    page, record = page_and_json(ledger, site)
    assert f"Licence {BONES.licence} accepted" in card(page, BONES.name)
    assert f"Licence {BONES.licence} to be accepted at install" in card(page, "totalsegmentator-face-mr")
    assert [each["licence_acceptance"] for each in record["submodels"]] == ["accepted", "to be accepted at install"]


def test_every_sub_model_that_runs_shows_its_licence_though_nothing_is_installed(
    ledger: Ledger, tmp_path: Path
) -> None:
    site = site_with(tmp_path, "models", "*", "mrsegmentator-fast")
    page, record = page_and_json(ledger, site)
    assert len(record["submodels"]) > 15
    for each in record["submodels"]:
        shown, licence = card(page, each["name"]), SUBMODELS[each["name"]].licence.replace("'", "&#39;")
        assert f"Licence {licence} " in shown
        assert "cannot run" in shown and "sagittal models install ZIP_OR_FOLDER" in shown
    number = len(record["submodels"])
    assert f"0 of {number} sub-models can run" in text_of(page) and f"; {number} cannot : " in text_of(page)


def test_of_several_networks_the_missing_one_is_named(ledger: Ledger, tmp_path: Path) -> None:
    site = site_with(tmp_path, "models", TOTAL.name)
    put(site_store(site), TOTAL, "totalsegmentator-850")
    page, record = page_and_json(ledger, site)
    assert "cannot run" in card(page, TOTAL.name)
    assert "totalsegmentator-851 not installed; install it with" in card(page, TOTAL.name)
    assert [network["fault"] is None for network in record["submodels"][0]["networks"]] == [True, False]


def test_the_network_that_is_run_first_is_among_what_a_sub_model_needs(ledger: Ledger, tmp_path: Path) -> None:
    site = site_with(tmp_path, "models", LIVER.name)
    put(site_store(site), LIVER, LIVER.network[0].name)
    page, record = page_and_json(ledger, site)
    assert "totalsegmentator-852 run first, to find where to look not installed" in card(page, LIVER.name)
    assert record["submodels"][0]["networks"][0]["runs_first_as"] == "totalsegmentator-total-mr-fast"


def test_a_licence_stays_in_sight_where_only_the_network_that_is_run_first_is_installed(
    ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    text = (SHIPPED / "totalsegmentator-liver-segments-mr.toml").read_text()
    own = re.sub(r'^licence = "[^"]*"', 'licence = "Ask us first"\naccept_licence = true', text, flags=re.M)
    (tmp_path / "own" / "liver.toml").write_text(own)
    site = site_with(tmp_path, "models", LIVER.name)
    site = site.model_copy(update={"models": site.models.model_copy(update={"submodels": "own"})})
    fast = SUBMODELS["totalsegmentator-total-mr-fast"]
    put(site_store(site), fast, fast.network[0].name)
    page, record = page_and_json(ledger, site)
    assert "Licence Ask us first; Apache-2.0 to be accepted at install" in card(page, LIVER.name)
    assert record["submodels"][0]["licences"] == ["Ask us first", "Apache-2.0"]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("fold", "fold 3, 4 is not installed; install an archive that has it"),
        ("gone", "fold_2.safetensors is gone; install the model again"),
        ("record", "mrsegmentator/model.json: "),
    ],
)
def test_what_is_not_whole_says_what_is_wrong_with_it(ledger: Ledger, tmp_path: Path, harm: str, said: str) -> None:
    site = site_with(tmp_path, "models", "mrsegmentator")
    store = site_store(site)
    put(store, MRSEGMENTATOR, "mrsegmentator", **({"folds": (0, 1, 2)} if harm == "fold" else {}))
    if harm == "gone":
        (store.path("mrsegmentator") / "fold_2.safetensors").unlink()
    if harm == "record":
        (store.path("mrsegmentator") / RECORD).write_text("{")
    page, record = page_and_json(ledger, site)
    assert "cannot run" in card(page, "mrsegmentator") and said in card(page, "mrsegmentator")
    assert said in record["submodels"][0]["networks"][0]["fault"]
    assert str(tmp_path) not in page and str(tmp_path) not in str(record)


def test_what_is_installed_but_not_run_is_shown_with_its_licence(ledger: Ledger, tmp_path: Path) -> None:
    site = site_with(tmp_path, "models", "mrsegmentator")
    put(site_store(site), BONES, BONES.network[0].name)
    put(site_store(site), TOTAL, "totalsegmentator-850")
    (site_store(site).path("totalsegmentator-850") / RECORD).write_text("no record")
    page, record = page_and_json(ledger, site)
    idle = text_of(page.partition('id="idle-title"')[2])
    assert f"{BONES.network[0].name} {BONES.name} {BONES.licence} accepted" in idle
    assert "totalsegmentator-850 totalsegmentator-850/model.json: " in idle
    assert [each["network"] for each in record["not_run"]] == [BONES.network[0].name]
    assert list(record["broken"]) == ["totalsegmentator-850"]


def test_the_phantom_models_say_plainly_what_they_are(ledger: Ledger, tmp_path: Path) -> None:
    site = site_with(tmp_path, "phantom", "mrannotator-*", "mrsegmentator")
    page, record = page_and_json(ledger, site)
    assert "the workers install the phantom models when they start" in card(page, "mrannotator-spine")
    store = phantom_store(site_store(site).folder)
    page, record = page_and_json(ledger, site)
    spine = card(page, "mrannotator-spine")
    assert "Phantom, not for clinical use" in spine and store.get("mrannotator-spine").version[:16] in spine
    assert "Licence Apache-2.0 (phantom model, not for clinical use)" in spine
    assert "The published weights are under CC-BY-NC." in spine
    assert "no phantom model takes its place" in card(page, "mrsegmentator")
    states = {each["name"]: each["state"] for each in record["submodels"]}
    assert states.pop("mrsegmentator") == "cannot run" and set(states.values()) == {"phantom"}
    assert record["phantom"] is True


def test_phantom_weights_that_were_installed_among_real_ones_say_so_too(ledger: Ledger, tmp_path: Path) -> None:
    site = site_with(tmp_path, "models", "mrsegmentator")
    put(site_store(site), MRSEGMENTATOR, "mrsegmentator", phantom=True)
    page, record = page_and_json(ledger, site)
    assert "Phantom, not for clinical use" in card(page, "mrsegmentator")
    assert (record["phantom"], record["submodels"][0]["phantom"]) == (False, True)


def test_an_install_is_seen_at_the_next_look(ledger: Ledger, tmp_path: Path) -> None:
    site = site_with(tmp_path, "models", "mrsegmentator")
    with TestClient(make_app(ledger, site)) as client:
        assert client.get("/api/models").json()["submodels"][0]["state"] == "cannot run"
        put(site_store(site), MRSEGMENTATOR, "mrsegmentator")
        assert client.get("/api/models").json()["submodels"][0]["state"] == "ready"
        page = client.get("/models").text
        assert 'data-refresh="/fragments/models"' in page
        assert client.get("/fragments/models").text.strip() in page


def test_the_status_page_leads_to_the_models_and_a_job_shows_its_licence(ledger: Ledger, tmp_path: Path) -> None:
    site = site_with(tmp_path, "models", BONES.name)
    put(site_store(site), BONES, BONES.network[0].name)
    routed(ledger, "1.2.1", BONES.name)
    routed(ledger, "1.2.2", "a-table-that-is-gone")
    with TestClient(make_app(ledger, site)) as client:
        assert '<a href="/models">Models</a>' in client.get("/").text
        known, gone = (text_of(client.get(f"/series/{uid}").text) for uid in ("1.2.1", "1.2.2"))
    assert f"Sub-model {BONES.name} Licence {BONES.licence} accepted" in known
    assert "Sub-model a-table-that-is-gone Licence not known here any more" in gone


def test_the_page_holds_no_markup_that_is_not_ours_and_cannot_be_posted_to(ledger: Ledger, tmp_path: Path) -> None:
    site = site_with(tmp_path, "models", "mrsegmentator")
    put(site_store(site), MRSEGMENTATOR, "mrsegmentator", origin="<script>x</script>.zip", licence="<b>free</b>")
    with TestClient(make_app(ledger, site)) as client:
        answer = client.get("/models")
        assert client.post("/models").status_code == client.delete("/api/models").status_code == 405
    assert "<script>x" not in answer.text and "<b>free" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", answer.text)
    assert not re.search(r"""\s(?:style|on\w+)=["']""", answer.text)


def routed(ledger: Ledger, series_uid: str, submodel: str) -> None:
    ledger.heard(series_uid, "1.2", "MR1", 80)
    ledger.move_series(series_uid, SeriesState.COMPLETE, "quiet for 5 s")
    name, at = job_id(series_uid, 1, 1, submodel, "knee"), ledger.now()
    job = Job(
        name, series_uid, "1.2", 1, 1, "", submodel, "knee", 0, "R", JobState.QUEUED,
        "", 0, 0, "", 0.0, 0.0, "", "", at, at,
    )  # fmt: skip
    ledger.route_series(series_uid, f"knee ({submodel})", "volume 1", [job], revision=1)
