"""What Dagster costs with a year of batches, before and after old runs are deleted."""
