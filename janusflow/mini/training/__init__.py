"""What only the recipe of `mini` needs: its VAE, its SigLIP tower."""
