"""Header sets as hospitals write them, with the truth beside each; one table per language, for a spreadsheet."""
