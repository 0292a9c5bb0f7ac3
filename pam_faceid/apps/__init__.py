"""Programs: the keeper (worker), the observer, and faceid-admin."""
