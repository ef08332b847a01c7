"""``python -m stt_orchestration.cli``: the ``stt`` command."""

from stt_orchestration.cli.app import main

if __name__ == "__main__":
    main()
