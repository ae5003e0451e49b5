"""./dev: one command from a fresh clone to a running system. Standard library only.

commands     what each sub-command does, in order; run is one of them
python       the interpreter and .venv
engines      which engines there are; postgres and valkey run them
ground       who PostgreSQL runs as, and folders that this user can enter
localenv     var/env: secrets and addresses
family       starting processes; guard ends them, whatever happens to ./dev
supervisor   web, worker and beat: logs, restarts
checks       ./dev check; locks is one of them
"""
