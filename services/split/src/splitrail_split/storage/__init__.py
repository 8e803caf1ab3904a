"""What every store is built on: named queries over the pool, and the errors of stores that do not answer."""
