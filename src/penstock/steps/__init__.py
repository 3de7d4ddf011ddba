"""What is done to a batch, row by row. Each file is one kind of step; they import contracts and statistics."""
