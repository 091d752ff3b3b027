"""The paper's tables: how a row is run, and results beside the paper's."""
