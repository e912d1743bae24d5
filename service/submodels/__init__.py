"""The sub-models that Sagittal ships: one TOML file each, read by service/submodel.py."""
