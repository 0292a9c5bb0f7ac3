"""One outside thing a file: cameras, models, the vault, the audit log, the sandbox."""
