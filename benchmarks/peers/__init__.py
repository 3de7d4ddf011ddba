"""The same job as `penstock prepare`, written by hand with other tools."""
