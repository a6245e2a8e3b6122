"""How fast and how large we are: beside the authors' code, and above what the machine allows."""
