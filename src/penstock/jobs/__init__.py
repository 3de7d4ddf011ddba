"""What a user asks for, one verb a file: each is handed its source, engine and pipeline."""
