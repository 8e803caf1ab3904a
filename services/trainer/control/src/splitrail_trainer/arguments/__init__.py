"""Arguments of trainings and evaluations: checked against the table, with defaults filled in."""
