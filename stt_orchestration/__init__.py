"""What Dagster loads and an operator sees: definitions, settings, jobs, schedules, sensors and the ``stt`` command.

The only place that reads the environment: settings are read once here and flow down as arguments.
"""
