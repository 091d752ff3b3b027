"""Breaking runs and files on purpose; one command per row of the docs."""
