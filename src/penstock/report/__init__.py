"""The room of reports: a run, a model or a profile as one HTML page, in a notebook, in a terminal."""
