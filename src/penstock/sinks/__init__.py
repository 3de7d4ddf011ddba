"""Where results go. Each file is one format; they import contracts only."""
