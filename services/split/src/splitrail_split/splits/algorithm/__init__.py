"""Which image goes to which part: pure functions that know only arrays."""
