"""What maps and folds. Each file is one engine; they import contracts and the executor."""
