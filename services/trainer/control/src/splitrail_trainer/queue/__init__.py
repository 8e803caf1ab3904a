"""The queue as pods see it: claims, leases, and what an attempt leaves and reports."""
