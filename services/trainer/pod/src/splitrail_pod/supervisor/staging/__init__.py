"""The images and labels of a job on the pod's disk: fetched once, cached by content, verified by the split's digests."""
