"""Larger images: a stage after the VAE, for drawn images and for any others."""
