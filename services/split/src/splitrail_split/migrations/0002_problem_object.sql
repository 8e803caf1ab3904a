-- Position of the annotation in a JSON file, from 1, for which `line` served before.
ALTER TABLE import_problem ADD COLUMN object int;
