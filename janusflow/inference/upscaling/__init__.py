"""Larger pictures: a stage after the VAE, for drawn pictures and for any others."""
