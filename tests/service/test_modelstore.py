"""The folder of installed models, and the commands that look after it; no torch anywhere."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_nodes.errors import ConfigurationError, ModelUnusable
from service.modelstore import (
    PHANTOM_FOLDER,
    RECORD,
    Installed,
    ModelStore,
    chosen_store,
    record_text,
    sha256,
    store_to_fill,
    version_of,
)
from service.site_template import site_toml


def put(store: ModelStore, network: str = "tiny") -> Installed:
    """A model as an install leaves it, with files of no meaning."""
    path = store.path(network)
    path.mkdir(parents=True)
    for name in ("plans.json", "dataset.json", "fold_0.safetensors"):
        (path / name).write_text(f"{network} {name}")
    originals = {"plans.json": "a" * 64, "fold_0/checkpoint_final.pth": "b" * 64}
    model = Installed(
        network=network,
        submodel="tiny-model",
        system="Test",
        why=("its 2 labels are exactly those of tiny",),
        origin="tiny.zip",
        installed_at=datetime(2026, 11, 21, tzinfo=UTC),
        software="0.1.0",
        licence="CC-BY-NC 4.0",
        licence_accepted=True,
        configuration="3d_fullres",
        trainer="nnUNetTrainer",
        mirroring_axes=None,
        phantom=False,
        folds=(0,),
        originals=originals,
        files={file.name: sha256(file) for file in sorted(path.iterdir())},
        version=version_of(originals),
        parameters=10,
        bytes=40,
    )
    (path / RECORD).write_text(record_text(model))
    return model


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def sagittal(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", "models", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_what_was_installed_is_listed_in_order_of_name_and_read_back_the_same(store: ModelStore) -> None:
    assert store.installed() == ()
    two, one = put(store, "two"), put(store, "one")
    assert store.installed() == (one, two)
    assert store.get("two") == two
    store.verify("two")


def test_a_network_that_is_absent_says_how_to_install_it(store: ModelStore) -> None:
    with pytest.raises(ModelUnusable, match=r"tiny is not installed in .*models \(there: none\).*models install"):
        store.get("tiny")


@pytest.mark.parametrize("name", ["../models", "/etc", "", ".staging-1", "Tiny", "a/b", "tiny\n"])
def test_what_is_no_name_of_a_network_is_never_a_path(store: ModelStore, name: str) -> None:
    for use in (store.get, store.verify, store.remove):
        with pytest.raises(ModelUnusable, match="is no name of a network"):
            use(name)


@pytest.mark.parametrize("name", ["plans.json", "dataset.json", "fold_0.safetensors"])
def test_a_changed_or_missing_file_is_named(store: ModelStore, name: str) -> None:
    put(store)
    (store.path("tiny") / name).write_text("changed")
    with pytest.raises(ModelUnusable, match=rf"{name}: was changed after it was installed"):
        store.verify("tiny")
    (store.path("tiny") / name).unlink()
    with pytest.raises(ModelUnusable, match=rf"{name}: cannot be read"):
        store.verify("tiny")


def test_a_file_that_was_added_is_named(store: ModelStore) -> None:
    put(store)
    (store.path("tiny") / "fold_1.pth").write_text("?")
    with pytest.raises(ModelUnusable, match=r"fold_1\.pth was not there"):
        store.verify("tiny")


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"format": 2}, "format"),
        ({"surprise": 1}, "surprise"),
        ({"network": "other"}, "speaks of other, but stands in tiny"),
        ({"version": "0" * 64}, "the record was changed"),
        ({"files": {"../plans.json": "a" * 64}}, "files"),
    ],
)
def test_a_record_that_cannot_be_right_is_broken_and_hides_no_other(
    store: ModelStore, change: dict[str, object], because: str
) -> None:
    put(store), put(store, "good")
    record = store.path("tiny") / RECORD
    record.write_text(json.dumps({**json.loads(record.read_text()), **change}))

    assert [model.network for model in store.installed()] == ["good"]
    assert because in store.broken()["tiny"]
    with pytest.raises(ModelUnusable, match=because):
        store.get("tiny")


def test_what_an_install_works_in_and_other_folders_are_no_models(store: ModelStore) -> None:
    put(store)
    store.path("tiny").rename(store.folder / ".staging-abc")
    (store.folder / "notes").mkdir()
    assert store.installed() == ()
    assert dict(store.broken()) == {}


def test_a_removed_model_is_gone_whole(store: ModelStore) -> None:
    put(store)
    store.remove("tiny")
    assert list(store.folder.iterdir()) == []
    with pytest.raises(ModelUnusable, match="not installed"):
        store.remove("tiny")


def test_a_site_names_the_folder_of_its_models(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(site_toml("SAGITTAL", "127.0.0.1", 11112, 8042, ()) + DESTINATION)
    assert chosen_store(site, None).folder == tmp_path / "data" / PHANTOM_FOLDER
    assert store_to_fill(site, tmp_path / "mine").folder == tmp_path / "mine"
    with pytest.raises(ConfigurationError, match="this site runs the shipped phantom models"):
        store_to_fill(site, None)

    site.write_text(site.read_text().replace('weights = "phantom"', 'weights = "models"'))

    assert store_to_fill(site, None).folder == tmp_path / "models"


DESTINATION = """
[[destination]]
name = "PACS"
aet = "PACS"
host = "127.0.0.1"
port = 104
"""


def test_the_commands_need_no_torch(store: ModelStore) -> None:
    program = "import sys, service.models_cli, service.cli; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "False"


def test_list_shows_the_licence_and_what_is_broken(store: ModelStore) -> None:
    put(store), put(store, "torn")
    (store.path("torn") / RECORD).write_text("{")

    found = sagittal("list", "--folder", store.folder)

    assert found.returncode == 0
    assert "CC-BY-NC 4.0 (accepted)" in found.stdout
    assert "torn cannot be used" in found.stdout
    said = json.loads(sagittal("list", "--json", "--folder", store.folder).stdout)
    assert [model["network"] for model in said["models"]] == ["tiny"]
    assert list(said["broken"]) == ["torn"]


def test_show_tells_why_it_is_that_model(store: ModelStore) -> None:
    model = put(store)
    assert "its 2 labels are exactly those of tiny" in sagittal("show", "tiny", "--folder", store.folder).stdout
    said = sagittal("show", "tiny", "--json", "--folder", store.folder).stdout
    assert Installed.model_validate_json(said) == model


def test_verify_ends_with_1_and_names_the_changed_file(store: ModelStore) -> None:
    put(store), put(store, "other")
    assert sagittal("verify", "--folder", store.folder).returncode == 0
    (store.path("other") / "plans.json").write_text("changed")

    found = sagittal("verify", "--folder", store.folder)

    assert found.returncode == 1
    assert "tiny: as it was installed" in found.stdout
    assert "plans.json: was changed" in found.stdout
    said = json.loads(sagittal("verify", "other", "--json", "--folder", store.folder).stdout)
    assert [(each["network"], each["ok"]) for each in said] == [("other", False)]


def test_remove_takes_one_away_and_says_when_there_is_none(store: ModelStore) -> None:
    put(store)
    assert sagittal("remove", "tiny", "--folder", store.folder).returncode == 0
    again = sagittal("remove", "tiny", "--folder", store.folder)
    assert (again.returncode, "is not installed" in again.stderr) == (1, True)


def test_install_from_the_command_line(tmp_path: Path, store: ModelStore) -> None:
    shipped = Path(__file__).parents[2] / "workers" / "phantom_models" / "Dataset003_PelvisProstate"
    archive = zipped(shipped, tmp_path / "pelvis.zip")

    name = "mrannotator-pelvis-prostate"  # whose place the phantom model takes

    found = sagittal("install", archive, "--as", name, "--folder", store.folder)

    assert found.returncode == 0, found.stderr
    assert "mrannotator-pelvis-prostate" in found.stdout
    assert "because its 4 labels are exactly those of mrannotator-pelvis-prostate" in found.stdout
    assert [model.network for model in store.installed()] == ["mrannotator-pelvis-prostate"]
    said = json.loads(sagittal("install", archive, "--as", name, "--json", "--folder", store.folder).stdout)
    assert [model["network"] for model in said["installed"]] == ["mrannotator-pelvis-prostate"]


def test_a_failed_install_is_one_line_and_ends_with_1(tmp_path: Path, store: ModelStore) -> None:
    (tmp_path / "wrong.zip").write_bytes(b"no zip")
    found = sagittal("install", tmp_path / "wrong.zip", "--folder", store.folder)
    assert (found.returncode, found.stdout) == (1, "")
    assert one_line(found.stderr).startswith("Error: ")
    assert store.installed() == ()


def one_line(text: str) -> str:
    (line,) = text.strip().splitlines()
    return line


def zipped(folder: Path, file: Path, names: Sequence[str] = ("plans.json", "dataset.json")) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.write(path, path.relative_to(folder.parent))
    return file
