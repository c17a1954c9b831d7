"""Search: engines under one protocol, and index folders that remember which encoder they were made with."""
