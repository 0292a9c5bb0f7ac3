"""faceid-admin: one file a command; click and rich live only here."""
