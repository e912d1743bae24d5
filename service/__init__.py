"""The way of a series: configuration, assembly, routing, the ledger, the queue, pages and commands."""
