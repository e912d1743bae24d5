"""What turns an array into a label map: one file per kind of model."""
