"""What tools and notebooks call; its public names are on `bimm_mm`."""
