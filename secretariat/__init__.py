"""The General Secretariat: screening, review, retraction and the ledger of who holds what."""
