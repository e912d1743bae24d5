"""DICOM in and out: network nodes, headers, geometry, encoders. Knows no queue, no database, no web."""
