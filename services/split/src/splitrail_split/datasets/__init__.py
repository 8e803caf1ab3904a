"""Datasets, their committed versions and the images in them."""
