"""What turns a published model into an installed one: archive, layout, recognition, conversion, placing."""
