"""The status page and its JSON: what the ledger knows, over HTTP, read-only."""
