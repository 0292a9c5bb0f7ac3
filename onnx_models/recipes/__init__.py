"""One recipe a model: from the bytes that a package holds to the bytes that we ship."""
