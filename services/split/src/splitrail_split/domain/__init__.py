"""What several wings share: plain values, without I/O or protos."""
