"""The split service: projects, datasets, versions, imports, annotations and split revisions."""
