"""Where batches come from. Each file is one format; they import contracts only."""
