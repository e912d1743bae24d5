"""`sagittal route`, `replay` and rules that change: what a person sees, what a program gets, and nothing else."""

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydicom import dcmread

from dicom_nodes.errors import ConfigurationError
from dicom_nodes.types import Laterality
from service.cli import main
from service.config import Site, read_site
from service.ledger import open_ledger
from service.phantom.dicom import PhantomSeries, write_dicom
from service.phantom.protocols import make_phantom
from service.routing.site import SiteRouting
from service.submodel import load_submodels
from tests.ledgers import naming_ledger
from tests.service.routed_site import dispatched, receive

SKIP = '[[rule]]\nname = "no knees"\nskip = "no knees here"\nwhen = { body_part = "knee" }\n'


def sagittal(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def knee(tmp_path_factory: pytest.TempPathFactory) -> PhantomSeries:
    phantom = make_phantom("knee", 5, voxel_scale=5.0, laterality=Laterality.LEFT)
    return write_dicom(phantom, tmp_path_factory.mktemp("knee"))


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    assert sagittal("init", tmp_path, "--send-to", "PACS@192.0.2.10:104").exit_code == 0
    path = tmp_path / "site.toml"
    path.write_text(naming_ledger(path.read_text(), tmp_path / "data"))
    return path


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(SKIP)
    return path


def with_rules(site_file: Path, name: str) -> Site:
    text = site_file.read_text().replace("# [routing]", "[routing]").replace("# rules = ", "rules = ")
    assert name in text
    site_file.write_text(text)
    return read_site(site_file)


def test_route_shows_volumes_witnesses_rules_and_the_decision(knee: PhantomSeries) -> None:
    done = sagittal("route", knee.paths[0].parent)
    assert done.exit_code == 0, done.output
    for part in (
        f"series {knee.series_uid}",
        "volume 1: sagittal",
        "names knee (",
        "mrannotator-shoulder-knee knee: matched",
        "mrannotator-spine lumbar: the body part is knee, not lumbar",
        "routed: knee, left, by mrannotator-shoulder-knee",
        "1 routed",
    ):
        assert part in done.output


def test_route_gives_programs_the_same(knee: PhantomSeries) -> None:
    done = sagittal("route", knee.paths[0].parent, "--json")
    (series,) = json.loads(done.output)["series"]
    (volume,) = series["volumes"]
    assert (series["state"], volume["plane"], volume["body_part"][0]) == ("routed", "sagittal", "knee")
    assert volume["routes"][0]["laterality"] == "L"
    assert all(set(rule) == {"rule", "matched", "failed"} for rule in volume["rules"])


def test_route_asks_the_rules_that_are_named(knee: PhantomSeries, rules_file: Path) -> None:
    done = sagittal("route", knee.paths[0].parent, "--rules", rules_file)
    assert 'unrouted: rule "no knees": no knees here' in done.output


def test_route_of_a_folder_without_dicom_says_what_lies_there(tmp_path: Path) -> None:
    assert "no series here" in sagittal("route", tmp_path).output
    (tmp_path / "notes.txt").write_text("nothing")
    done = sagittal("route", tmp_path)
    assert done.exit_code == 0
    assert "notes.txt" in done.output


def test_route_takes_files_without_pixel_data_where_it_is_told_so(tmp_path: Path, knee: PhantomSeries) -> None:
    for path in knee.paths:
        dataset = dcmread(path)
        del dataset.PixelData
        dataset.save_as(tmp_path / path.name)
    assert "no pixel data" in sagittal("route", tmp_path).output
    assert "routed: knee, left" in sagittal("route", tmp_path, "--headers-only").output


def test_route_as_a_site_says_where_weights_are_missing(site_file: Path, knee: PhantomSeries) -> None:
    text = site_file.read_text().replace('# run = ["mrannotator-*"]', 'run = ["amos"]')
    site_file.write_text(text)
    done = sagittal("route", knee.paths[0].parent, "--site", site_file)
    assert "knee would be served by totalsegmentator-total-mr, whose weights are not installed" in done.output


def test_replay_shows_which_series_would_go_elsewhere_and_changes_nothing(
    site_file: Path, rules_file: Path, knee: PhantomSeries, request: pytest.FixtureRequest
) -> None:
    site = read_site(site_file)
    ledger = open_ledger(site.ledger_url, actor="test")
    request.addfinalizer(ledger.close)
    receive(site, ledger, knee)
    before = dispatched(site, ledger, knee)
    shutil.rmtree(site.incoming)
    done = sagittal("replay", "--site", site_file, "--since", "7d", "--rules", rules_file)
    assert done.exit_code == 0, done.output
    assert "now:  routed: knee (mrannotator-shoulder-knee)" in done.output
    assert 'then: unrouted: rule "no knees": no knees here' in done.output
    assert "1 of 1 series would go elsewhere" in done.output
    assert (ledger.series(knee.series_uid), ledger.list_jobs(series_uid=knee.series_uid)) == before
    rules_file.write_text('[[rule]]\nname = "x"\nwhen = { body_part = "hip" }\nskip = "y"\n')
    record = json.loads(sagittal("replay", "--site", site_file, "--rules", rules_file, "--json").output)
    assert record == {"asked": 1, "changes": []}
    none = sagittal("replay", "--site", site_file, "--since", "7 days", "--rules", rules_file)
    assert (none.exit_code, "write a number and m, h, d or w" in none.output) == (2, True)


def test_a_series_is_assigned_by_hand(site_file: Path, knee: PhantomSeries, request: pytest.FixtureRequest) -> None:
    site = read_site(site_file)
    ledger = open_ledger(site.ledger_url, actor="test")
    request.addfinalizer(ledger.close)
    receive(site, ledger, knee, change=lambda dataset: setattr(dataset, "BodyPartExamined", "ANKLE"))
    dispatched(site, ledger, knee)
    target = "mrannotator-shoulder-knee: knee"
    done = sagittal("jobs", "assign", knee.series_uid, "--site", site_file, "--to", target, "--side", "L")
    assert "1 job(s) queued" in done.output, done.output
    unknown = sagittal("jobs", "assign", "1.2", "--site", site_file, "--to", target)
    assert "series 1.2 is not known here" in unknown.output


# ── rules that change while the service runs ───────────────────────────────────────────────────────────────────


def test_changed_rules_count_at_once_and_wrong_ones_change_nothing(site_file: Path, rules_file: Path) -> None:
    routing = SiteRouting(with_rules(site_file, "rules.toml"), load_submodels())
    assert [rule.name for rule in routing.now().rules] == ["no knees"]
    rules_file.write_text(SKIP + SKIP.replace("knee", "hip"))
    assert [rule.name for rule in routing.now().rules] == ["no knees", "no hips"]
    rules_file.write_text(SKIP.replace("skip", "skipp"))
    assert [rule.name for rule in routing.now().rules] == ["no knees", "no hips"]
    assert f"{rules_file}, line 3: rule.1.skipp: is not a known key" in routing.fault
    rules_file.write_text(SKIP)
    os.utime(rules_file, (1, 1))
    assert ([rule.name for rule in routing.now().rules], routing.fault) == (["no knees"], "")


def test_rules_that_vanish_change_nothing_and_are_told(site_file: Path, rules_file: Path) -> None:
    routing = SiteRouting(with_rules(site_file, "rules.toml"), load_submodels())
    rules_file.unlink()
    assert len(routing.now().rules) == 1
    assert "cannot be read" in routing.fault


def test_a_service_does_not_start_with_wrong_rules(site_file: Path, rules_file: Path) -> None:
    rules_file.write_text("[[rule]]\n")
    site = with_rules(site_file, "rules.toml")
    with pytest.raises(ConfigurationError, match=r"rules\.toml, line 1: rule\.1\.name: is missing"):
        SiteRouting(site, load_submodels())
    checked = sagittal("check", "--site", site_file)
    assert (checked.exit_code, "rule.1.name: is missing" in checked.output) == (1, True)
