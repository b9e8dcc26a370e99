"""SQLite stores: inbox, outbox, history and what they share."""
