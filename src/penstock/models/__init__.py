"""What learns from batches. Each file is one model; they import contracts and steps."""
