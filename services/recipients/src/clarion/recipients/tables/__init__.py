"""The tables: rows to and from the messages of the contract."""
