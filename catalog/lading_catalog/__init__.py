"""What is true: the catalog of a Lading home. SQLite schema, rules and records; no network, no threads."""
