"""What is learned from batches. Each file is one statistic (or a family); they import contracts only."""
