"""Sub-models for tests, with as little in them as the schema allows."""

from collections.abc import Sequence
from typing import Any

from service.submodel import SubModel

STRUCTURE = {"value": "91723000", "scheme": "SCT", "meaning": "Anatomical Structure"}


def network(name: str, labels: Sequence[str], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "dataset": f"Dataset*_{name}",
        "labels": list(labels),
        "trainers": ["nnUNetTrainerNoMirroring"],
        **more,
    }


def submodel(name: str, labels: Sequence[str], networks: Sequence[dict[str, Any]] = (), **more: Any) -> SubModel:
    """Labels have the values 1, 2, ...; without networks there is one, of the same name, that finds them all."""
    return SubModel.model_validate(
        {
            "name": name,
            "system": "Test",
            "orientation": "RAS",
            "licence": "none",
            "citation": "none",
            "source": "https://example.org",
            "network": list(networks) or [network(name, labels)],
            "label": [
                {"value": value, "name": label, "category": STRUCTURE, "type": STRUCTURE, "rgb": [value, 0, 0]}
                for value, label in enumerate(labels, 1)
            ],
            **more,
        }
    )


def variant(base: SubModel, name: str) -> SubModel:
    return next(each for each in base.variants() if each.name == name)
