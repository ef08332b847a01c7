"""What Dagster materializes, thin: an asset names its inputs, calls one function of the packages below and returns metadata.

Here belong the assets of transcription and of capacity, and in ``common`` what they share with Dagster. Logic that a test could
want without Dagster belongs one layer down. The asset modules alone do without postponed annotations: Dagster reads the type of
``context`` when the asset is made.
"""
