"""./dev: one command from a fresh clone to a running system. Standard library only.

commands     the sub-commands; run has a file of its own
python       the interpreter and .venv
media        the media engine's .venv-media: install, tests, types
engines      finds PostgreSQL and Valkey; postgres and valkey run them
ground       the user that PostgreSQL runs as, and folders that this user can enter
localenv     var/env: secrets and addresses
family       starts processes; guard ends them, however ./dev ends
supervisor   web, workers and beat: logs, restarts
checks       ./dev check; locks is one of the checks
"""
