"""The record of attempts: one canonical line each, in a file of its own and in the journal."""
