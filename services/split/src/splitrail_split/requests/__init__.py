"""Rules of fields that requests of several services have: each breach becomes INVALID_ARGUMENT that names the field."""
