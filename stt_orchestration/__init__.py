"""What Dagster loads and an operator sees: definitions, settings, jobs, schedules, sensors and the ``stt`` command.

The only place that reads the environment: settings are read once here and flow down as arguments.
"""

from stt_orchestration.own_packages import prefer_own_packages

prefer_own_packages()
